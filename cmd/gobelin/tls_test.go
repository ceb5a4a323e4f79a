package main

import (
	"crypto/tls"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TLS 1.2 and 1.3 are spoken, nothing older, and of HTTP version 1.1 alone.
func TestTLSMatrix(t *testing.T) {
	x := startReloading(t, "admin: {listen: 127.0.0.1:0}\nsandbox: true\n"+rootsYAML("0*"))
	at := strings.TrimPrefix(x.n.url("public"), "https://")
	f := func(version uint16, offered []string, want string) {
		t.Helper()
		conn, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, NextProtos: offered})
		if want == "" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		defer conn.Close()
		require.Equal(t, version, conn.ConnectionState().Version)
		require.Equal(t, strings.TrimPrefix(want, "none"), conn.ConnectionState().NegotiatedProtocol)
	}
	f(tls.VersionTLS10, nil, "")
	f(tls.VersionTLS11, nil, "")
	f(tls.VersionTLS12, nil, "none")
	f(tls.VersionTLS13, nil, "none")
	f(tls.VersionTLS12, []string{"h2", "http/1.1"}, "http/1.1")
	f(tls.VersionTLS13, []string{"h2", "http/1.1"}, "http/1.1")
	f(tls.VersionTLS13, []string{"h2"}, "")

	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl: another implementation has not been asked")
	}
	s := func(want string, args ...string) {
		t.Helper()
		out, _ := exec.Command(openssl, append([]string{"s_client", "-connect", at, "-alpn", "h2,http/1.1"}, args...)...).CombinedOutput()
		require.Contains(t, string(out), want, "%v", args)
	}
	s("ALPN protocol: http/1.1", "-tls1_3")
	s("ALPN protocol: http/1.1", "-tls1_2")
	s("Cipher is (NONE)", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
	s("Cipher is (NONE)", "-tls1_2", "-cipher", "RC4:3DES:aNULL:@SECLEVEL=0")
}
