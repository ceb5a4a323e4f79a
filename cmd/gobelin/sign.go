package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/broker/signed"
	"github.com/spf13/cobra"
)

// maxSigned bounds what is read to be signed, as a broker's limits.body does.
const maxSigned = 4 << 20

func newSignCommand() *cobra.Command {
	var from signerSource
	var header string
	var complete bool
	c := &cobra.Command{
		Use:   "sign [FILE]",
		Short: "Sign a JSON object, or a request, with an account's secret",
		Long: `Reads a JSON object from FILE or standard input and prints it with its signature
inside, as POST /stable/ takes it: the member "signature" is added at the end and
nothing else is changed. With --header it prints the header that signs a request
with that body instead.

The secret is never on the command line: it comes from a configuration, the
environment, a file, or standard input.`,
		Example: `  echo '{"command":"viewer.log","app":"main","graph":1}' | gobelin sign --complete --config gobelin.yaml |
    curl -H 'Content-Type: application/json' --data-binary @- https://live.example.com/stable/
  gobelin sign query.json --key APX1 --secret file:/run/secrets/api_secret
  curl -H "$(gobelin sign --header 'POST /v1/publish' batch.json)" --data-binary @batch.json https://live.example.com/v1/publish`,
		Args: cobra.MaximumNArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			if from.secret == "-" && len(args) == 0 {
				return usage{errors.New("--secret - takes standard input: name the FILE to be signed")}
			}
			account, err := from.load(c.InOrStdin())
			if err != nil {
				return err
			}
			text, err := readSigned(c.InOrStdin(), args)
			if err != nil {
				return err
			}
			if header != "" {
				return printHeader(c.OutOrStdout(), account, header, text, time.Now())
			}
			return printSigned(c.OutOrStdout(), account, text, complete, time.Now())
		}),
	}
	from.flags(c)
	c.Flags().StringVar(&header, "header", "", `sign a request instead: its method and target, such as "POST /v1/publish"`)
	c.Flags().BoolVar(&complete, "complete", false, "first add api_key, cdn and timestamp where they are missing")
	c.MarkFlagsMutuallyExclusive("header", "complete")
	return c
}

// readSigned reads what is to be signed.
func readSigned(in io.Reader, args []string) ([]byte, error) {
	name := "standard input"
	if len(args) == 1 {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, name = f, args[0]
	}
	text, err := io.ReadAll(io.LimitReader(in, maxSigned+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxSigned {
		return nil, fmt.Errorf("%s is larger than %v", name, size(maxSigned))
	}
	return text, nil
}

// printSigned prints an object with its signature inside and no line break behind it: a
// byte more would be another text.
func printSigned(out io.Writer, account signer, text []byte, complete bool, now time.Time) error {
	text = bytes.TrimSpace(text)
	if complete {
		var err error
		if text, err = completed(text, account, now); err != nil {
			return err
		}
	}
	sent, err := signed.Sign(text, []byte(account.Secret.Reveal()))
	if err != nil {
		return signFault(err)
	}
	_, err = out.Write(sent)
	return err
}

// completed returns an object with the members of a command that every one needs, at the
// end.
func completed(text []byte, account signer, now time.Time) ([]byte, error) {
	body, err := signed.Parse(text)
	if err != nil {
		return nil, signFault(err)
	}
	there := map[string]bool{}
	end := bytes.IndexByte(text, '{') + 1
	for _, m := range body.Members {
		there[m.Name], end = true, m.End
	}
	var more []string
	for _, m := range []struct{ name, value string }{
		{"api_key", quoted(account.key)}, {"timestamp", fmt.Sprint(now.Unix())}, {"cdn", fmt.Sprint(account.cdn)},
	} {
		if !there[m.name] {
			more = append(more, quoted(m.name)+":"+m.value)
		}
	}
	if len(more) == 0 {
		return text, nil
	}
	added := strings.Join(more, ",")
	if len(body.Members) > 0 {
		added = "," + added
	}
	return append(append(bytes.Clone(text[:end]), added...), text[end:]...), nil
}

// quoted writes a text as JSON.
func quoted(text string) string {
	b, _ := json.Marshal(text) // a string can always be written
	return string(b)
}

// signFault says what keeps a text from being signed.
func signFault(err error) error {
	var twice *exact.DuplicateError
	switch {
	case errors.As(err, &twice):
		return fmt.Errorf("cannot be signed: the member %q is there twice", clip(twice.Name))
	case errors.Is(err, exact.ErrType):
		return errors.New("cannot be signed: must be a JSON object, such as {\"command\":\"viewer.log\"}")
	case errors.Is(err, exact.ErrSyntax), errors.Is(err, exact.ErrUTF8), errors.Is(err, exact.ErrDepth):
		return fmt.Errorf("cannot be signed: must be valid JSON of at most %v", size(signed.MaxBody))
	}
	return fmt.Errorf("cannot be signed: %s", strings.TrimPrefix(strings.TrimPrefix(err.Error(), "signed: "), "sign: "))
}

// printHeader prints the header that signs a request, name and all.
func printHeader(out io.Writer, account signer, request string, body []byte, now time.Time) error {
	method, target, ok := strings.Cut(request, " ")
	if !ok || method != strings.ToUpper(method) || !strings.HasPrefix(target, "/") || strings.Contains(target, " ") {
		return usage{fmt.Errorf("--header %q: must be a method and a target such as \"POST /v1/publish\"", clip(request))}
	}
	nonce := ""
	if method != http.MethodGet && method != http.MethodHead {
		var b [16]byte
		rand.Read(b[:]) // never fails (crypto/rand)
		nonce = hex.EncodeToString(b[:])
	}
	value, err := broker.SignRequest(broker.SignedRequest{Method: method, Target: target, Body: body}, account.key, account.Secret, nonce, now)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "Gobelin-Signature: %s\n", value)
	return err
}
