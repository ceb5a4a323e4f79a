package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/bayeux/bench"
	"github.com/gobelin-broker/gobelin/bayeux/client"
	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/api"
	"github.com/gobelin-broker/gobelin/broker/console"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/gobelin-broker/gobelin/store/redis"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"
)

// planted is a text that no output may have.
const planted = "planted-5Qm2xW8r-planted-5Qm2xW8r-planted"

// plant fills every secret below v, and makes one element of each list and map, so that
// all of them are there. It returns how many it filled.
func plant(v reflect.Value) (n int) {
	switch v.Type() {
	case reflect.TypeFor[channels.Secret]():
		v.SetString(planted)
		return 1
	case reflect.TypeFor[location]():
		v.SetString("redis://user:" + planted + "@127.0.0.1:6379/?sentinel_password=" + planted)
		return 1
	case reflect.TypeFor[channels.RootKey]():
		v.Set(reflect.ValueOf(channels.RootKey{KID: 7, Secret: []byte(planted)}))
		return 1
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				n += plant(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct || v.Type().Elem().Kind() == reflect.String {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			n += plant(v.Index(0))
		}
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.Struct {
			one := reflect.New(v.Type().Elem()).Elem()
			n += plant(one)
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), one)
		}
	}
	return n
}

// shown is everything that can be made of a value by accident.
func shown(t *testing.T, v any) string {
	t.Helper()
	var out strings.Builder
	for _, verb := range "vTtbcdoOqxXUeEfFgGs" { // not %p, which asks nobody: go vet refuses it
		for _, flags := range []string{"", "+", "#", "-40.3"} {
			fmt.Fprintf(&out, "%"+flags+string(verb)+"\n", v)
		}
	}
	fmt.Fprintln(&out, v)
	fmt.Fprintln(&out, fmt.Errorf("broker: %w", errors.New(fmt.Sprint(v))))
	if b, err := json.Marshal(v); err == nil { // functions cannot be
		out.Write(b)
	}
	func() {
		defer func() { _ = recover() }() // so can they not for yaml
		if b, err := yaml.Marshal(v); err == nil {
			out.Write(b)
		}
	}()
	for _, encoder := range []zapcore.Encoder{
		zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
	} {
		log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zap.DebugLevel))
		log.Info("x", zap.Any("v", v), zap.Reflect("r", v))
		log.Sugar().Infow(fmt.Sprint(v), "v", v)
		log.Sugar().Infof("%d %s", v, v)
	}
	return out.String()
}

// whatLooksLikeIt is the text in the forms in which it would leak.
func whatLooksLikeIt() []string {
	digits := fmt.Sprintf("%x", planted[:8])
	bytes := strings.Trim(fmt.Sprint([]byte(planted[:8])), "[]")
	return []string{planted[:8], digits, strings.ToUpper(digits), bytes, strings.ReplaceAll(bytes, " ", ",")}
}

// TestThreat44OptionsHideSecrets: whatever is made of options, no secret is in it.
func TestThreat44OptionsHideSecrets(t *testing.T) {
	f := func(v any, secrets int) {
		t.Helper()
		p := reflect.New(reflect.TypeOf(v))
		require.Equal(t, secrets, plant(p.Elem()), "%T: secrets found", v)
		for _, value := range []any{p.Elem().Interface(), p.Interface()} {
			text := shown(t, value)
			for _, mark := range whatLooksLikeIt() {
				require.NotContains(t, text, mark, "%T", v)
			}
		}
	}
	f(channels.Secret(""), 1)
	f(channels.RootKey{}, 1)
	f(location(""), 1)
	f(broker.Application{}, 2)
	f(broker.Account{}, 4)
	f(broker.Options{}, 4)
	f(client.Options{}, 1)
	f(bench.Options{}, 1)
	f(config{}, 8)
	f(keysConfig{}, 2)
	f(accountConfig{}, 4)
	f(signer{}, 1)
	f(operator{}, 1)
	f(connection{}, 1)
	// They have none, and would be found out if they got one.
	for _, v := range []any{
		bayeux.Options{},
		api.Options{},
		console.Options{},
		redis.Options{},
		disk.Options{},
		memory.Options{},
		broker.AccumulateOptions{},
		broker.StreamOptions{},
		broker.KindOptions{},
	} {
		f(v, 0)
	}
	f(fault{}, 0)

	// The test finds what leaks.
	require.Contains(t, shown(t, struct{ Token string }{planted}), planted)
	require.Contains(t, shown(t, struct{ token channels.Secret }{planted}), planted, "why such fields are exported")
}

// secretName is what fields are called that hold a secret.
var secretName = regexp.MustCompile(`(?i)(password|passphrase|secret|token|credentials?|app_?key|server_?key)$`)

// plainSecrets are the fields that may be plain text all the same.
var plainSecrets = allowed{
	"broker.appKeys.secret":                "what HMACs are computed with, held by the verifier alone",
	"broker.accountKeys.secret":            "the same",
	"channels.RootKey.Secret":              "hidden by RootKey.Format and MarshalText",
	"store/redis.address.password":         "hidden by address.Format",
	"store/redis.address.sentinelPassword": "hidden by address.Format",
	"cmd/gobelin.signerSource.secret":      "says where the secret is; a secret itself is refused",
	"cmd/gobelin.control.token":            "says where the token is; a token itself is refused",
}

// TestThreat44SecretsAreTyped looks at every field of the source that is called as
// secrets are: it hides itself, or is among the exceptions.
func TestThreat44SecretsAreTyped(t *testing.T) {
	typed := 0
	found := map[string]bool{}
	for _, f := range product(t) {
		ast.Inspect(f.tree, func(n ast.Node) bool {
			spec, is := n.(*ast.TypeSpec)
			if !is {
				return true
			}
			body, is := spec.Type.(*ast.StructType)
			if !is {
				return true
			}
			for _, field := range body.Fields.List {
				form := f.of(field.Type)
				for _, name := range field.Names {
					key := filepath.ToSlash(filepath.Dir(f.path)) + "." + spec.Name.Name + "." + name.Name
					switch {
					case strings.HasSuffix(form, "Secret"):
						typed++
						require.True(t, name.IsExported(), "%s: fmt shows an unexported field raw, whatever its type hides: export it", key)
					case secretName.MatchString(name.Name) && slices.Contains([]string{"string", "[]byte", "*string"}, form):
						found[key] = true
					}
				}
			}
			return true
		})
	}
	require.Greater(t, typed, 10)
	plainSecrets.judge(t, found, "a secret as plain text: make it a channels.Secret")
}
