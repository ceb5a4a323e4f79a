//go:build race

package storetest

// manyLogs is smaller where everything takes ten times as long.
const manyLogs = 2_000
