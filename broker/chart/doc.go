// Package chart draws how many viewers there were: a picture that needs no script, for
// a page of its own, a frame, or an img element.
//
//	Chart (points of time) ──► Draw ──► SVG ──► Page (the SVG with what is around it)
//
// Every pixel is decided here, so the pages can be served with a policy that allows
// nothing but their own style (Policy). Light and dark come from the reader's system, by
// a media query, also where the picture is an image of somebody else's page. What was not
// measured is left empty; where nobody watched, there is a line at zero.
//
// It knows neither broker nor store, holds nothing and starts nothing.
package chart
