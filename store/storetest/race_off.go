//go:build !race

package storetest

// manyLogs is how many logs the test of many logs has.
const manyLogs = 20_000
