// Package charttest lints and renders the chart beside it with Helm itself, which is
// built from its module for that; `make chart` runs it. What Helm makes of the chart is
// kept in ../rendered, for those who have no Helm, and for the tests of every run, which
// look at that and see from its first line whether the chart has changed since.
//
// It is a module of its own: Helm and Kubernetes are no affair of the broker's. It has
// no state. Caveats: Kubernetes' schemas are not asked; building Helm takes minutes.
package charttest
