package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"go.yaml.in/yaml/v3"
)

// setText sets the field target points to from text: a default, an environment
// variable or a flag. Lists are comma separated; what has parts is YAML.
func setText(target any, text string, at place, key string, fs *faults) {
	text = strings.TrimSpace(text)
	if err := setScalar(target, text); err == nil {
		return
	} else if !errors.Is(err, errNotScalar) {
		fs.add(at, key, "%v", err)
		return
	}
	if list, ok := target.(*[]string); ok && !strings.HasPrefix(text, "[") {
		*list = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*list = append(*list, part)
			}
		}
		return
	}
	if text == "" {
		text = "null"
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		fs.add(at, key, "is not YAML, such as [{…}, {…}]")
		return
	}
	r := &reader{at: at, faults: fs}
	r.set(target, doc.Content[0], key)
}

var errNotScalar = errors.New("not a scalar")

// setScalar sets a field with one value, or returns errNotScalar.
func setScalar(target any, text string) error {
	switch p := target.(type) {
	case *string:
		*p = text
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is not true or false", clip(text))
		}
		*p = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", clip(text))
		}
		*p = n
	case *time.Duration:
		d, err := parseDuration(text)
		if err != nil {
			return err
		}
		*p = d
	case *size:
		n, err := parseSize(text)
		if err != nil {
			return fmt.Errorf("%q %w", clip(text), err)
		}
		*p = n
	case *location:
		l, err := readLocation(text)
		if err != nil {
			return err
		}
		*p = l
	case *broker.Secret:
		if text == "" {
			*p = ""
			return nil
		}
		s, err := readSecret(text)
		if err != nil {
			return err
		}
		*p = s
	default:
		return errNotScalar
	}
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	// What is proposed has to be taken, too.
	proposed := text + "s"
	if days, e := strconv.ParseInt(strings.TrimSuffix(text, "d"), 10, 32); e == nil && strings.HasSuffix(text, "d") {
		proposed = strconv.FormatInt(24*days, 10) + "h"
	}
	switch _, e := time.ParseDuration(proposed); {
	case e != nil || len(proposed) > 100:
	case strings.HasSuffix(text, "d"):
		return 0, fmt.Errorf("%q: there is no unit for days: did you mean %s?", text, proposed)
	default:
		return 0, fmt.Errorf("%q has no unit: did you mean %s?", text, proposed)
	}
	return 0, fmt.Errorf("%q is not a duration: write it as 150ms, 45s or 12h", clip(text))
}

// clip bounds what of a wrong value is shown.
func clip(text string) string {
	if len(text) > 100 {
		return strings.ToValidUTF8(text[:100], "") + "…"
	}
	return text
}

// showValue returns a field as it would be written; secrets as ***.
func showValue(target any) string {
	switch p := target.(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *time.Duration:
		return showDuration(*p)
	case *size:
		return p.String()
	case *broker.Secret:
		return p.String()
	case *location:
		return p.String()
	case *[]string:
		return strings.Join(*p, ", ")
	case *[]openRule:
		return showList(*p, func(r openRule) string {
			return fmt.Sprintf("{pattern: %s, publish: %s, history: %s}", r.Pattern, r.Publish, showDuration(r.History))
		})
	case *map[string]kindAge:
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(*p)) {
			parts = append(parts, kind+": "+showDuration((*p)[kind].Age))
		}
		if parts == nil {
			return ""
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *[]rootKey:
		return showList(*p, func(k rootKey) string { return fmt.Sprintf("{kid: %d, secret: %v, sign: %t}", k.KID, k.Secret, k.Sign) })
	case *[]classConfig:
		var parts []string
		for _, k := range *p {
			parts = append(parts, k.show())
		}
		if parts == nil {
			return ""
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *[]accountConfig:
		return showList(*p, func(a accountConfig) string { return "{" + showAccount(a) + "apps: " + showList(a.Apps, showApp) + "}" })
	}
	return ""
}

// showAccount writes what of an account is there, beside its applications.
func showAccount(a accountConfig) string {
	if a.CDN == 0 && a.APIKey == "" {
		return ""
	}
	return fmt.Sprintf("cdn: %d, api_key: %s, api_secret: %v, stream_token: %v, ", a.CDN, a.APIKey, a.APISecret, a.StreamToken)
}

func showApp(a appConfig) string {
	return fmt.Sprintf("{id: %d, name: %s, app_key: %v, token_secret: %v}", a.ID, a.Name, a.AppKey, a.TokenSecret)
}

func showList[T any](list []T, show func(T) string) string {
	if len(list) == 0 {
		return ""
	}
	parts := make([]string, len(list))
	for i, item := range list {
		parts[i] = show(item)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// showDuration writes 24h rather than 24h0m0s.
func showDuration(d time.Duration) string {
	text := d.String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}
