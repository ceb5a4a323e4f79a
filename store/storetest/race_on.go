//go:build race

package storetest

// manyLogs is smaller where everything takes ten times as long.
const manyLogs = 2_000

// manyWatches is how many watches the test of many watches has.
const manyWatches = 2_000
