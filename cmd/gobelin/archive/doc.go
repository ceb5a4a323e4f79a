// Package archive writes and reads the backups of an embedded store: a folder of files
// as one stream, in which damage and a missing end are found out.
//
//	head.json          format, version, when it was made
//	store/000012.sst … the files of the store, as they lie in its folder
//	secrets/keys.yaml  the secrets that were made at first start, if there are some
//	end.json           every file with its length and SHA-256, and how much is in the store
//
// It is a tar, so that other tools can look into it. What is read is hostile: names are
// from a short alphabet and become files of one folder, each once, never over another,
// as long as they were announced; nothing is good before the end was there and agrees.
//
// The package starts no goroutine and has no locks. A file that the store deletes while
// it is read is an error: hand it a folder that nobody else writes to.
package archive
