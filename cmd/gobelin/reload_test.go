package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// writePair puts a certificate with a serial number into a folder.
func writePair(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// SIGHUP exchanges the certificate, retires the keys that are gone, and names what
// waits for a restart; a configuration with faults changes nothing.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gobelin.yaml")
	configure := func(more string) {
		text := strings.Join([]string{
			"listen: 127.0.0.1:0", "admin: {listen: 127.0.0.1:0}", `store: "memory:"`, "sandbox: true", "drain: {time: 10ms}",
			"tls: {cert: " + dir + "/cert, key: " + dir + "/key}", more,
		}, "\n")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	keys := func(more string) string {
		return "keys: {identity_secret: " + strings.Repeat("identity", 5) + ", roots: [{kid: 0, secret: " + strings.Repeat("signing0", 5) + ", sign: true}" + more + "]}\n"
	}
	old := ", {kid: 1, secret: " + strings.Repeat("signing1", 5) + "}"
	configure(keys(old))
	writePair(t, dir, 1)
	from := source{path: path}
	c, _, fs := load(from)
	require.NoError(t, fs.err())
	core, logs := observer.New(zapcore.InfoLevel)
	n, err := openNode(t.Context(), c, zap.New(core), false)
	require.NoError(t, err)
	// Until the node hears it, SIGHUP would end the test.
	hears := make(chan os.Signal, 1)
	signal.Notify(hears, syscall.SIGHUP)
	defer signal.Stop(hears)
	ctx, cancel := context.WithCancel(t.Context())
	serving, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- n.run(ctx, func() { close(serving) }, func(ctx context.Context) { n.obey(ctx, from) })
	}()
	<-serving
	serial := func() int64 {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(n.url("public"), "https://"), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.EqualValues(t, 1, serial())
	hang := func(text string) {
		t.Helper()
		logs.TakeAll()
		require.Eventually(t, func() bool { // the node may not hear yet
			require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
			return logs.FilterMessageSnippet(text).Len() > 0
		}, patience, 200*time.Millisecond, text)
	}
	writePair(t, dir, 2)
	configure(keys(old) + "bayeux: {timeout: 3s}\nlimts: {}\n")
	hang("configuration not taken over")
	require.EqualValues(t, 1, serial())

	configure(keys("") + "bayeux: {timeout: 3s}\n")
	hang("configuration read again")
	require.EqualValues(t, 2, serial())
	late := logs.FilterMessageSnippet("not before a restart").All()
	require.NotEmpty(t, late)
	require.Equal(t, []any{"bayeux.timeout"}, late[0].ContextMap()["keys"])
	require.Equal(t, 1, logs.FilterMessageSnippet("retired key are refused").Len(), "%v", logs.All())

	configure(keys(strings.ReplaceAll(old, "signing1", "signing2")))
	hang("give the new one another")
	configure(keys(old))
	hang("are good again")
	configure(keys(""))
	hang("retired key are refused")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "cert"), []byte("broken"), 0o600))
	configure(keys(""))
	hang("certificate not taken over")
	require.EqualValues(t, 2, serial())
	cancel()
	require.NoError(t, <-ended)
}
