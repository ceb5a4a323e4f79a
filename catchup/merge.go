package catchup

// Merge applies a merge patch (RFC 7396) to a document, both in canonical form:
// objects merge, arrays and scalars replace, null deletes, at any depth. What the
// patch does not name keeps its place and its text, down to the digits of numbers.
// Members by which a page that merges again would change all its objects
// (security.md §4, 27) are not taken over.
func Merge(document, patch []byte) []byte {
	return merge(document, patch)
}

func merge(target, patch []byte) []byte {
	if patch[0] != '{' {
		return patch
	}
	all := members(target)
	index := nameIndex(all)
	gone := map[int]bool{}
	for _, p := range members(patch) {
		i, there := index[p.name]
		switch {
		case isNull(p.value):
			if there {
				gone[i] = true
			}
		case isPrototype(p.name):
		case there:
			all[i].value = merge(all[i].value, p.value)
		default:
			// Also into nothing: nulls inside of p name what is not there.
			all = append(all, member{name: p.name, raw: p.raw, value: merge(nil, p.value)})
		}
	}
	all = without(all, gone)
	size := 2
	for _, m := range all {
		size += len(m.raw) + len(m.value) + 2
	}
	return appendObject(make([]byte, 0, size), all)
}

// isPrototype reports whether JavaScript reaches the parent of objects by a name.
func isPrototype(name string) bool {
	return name == "__proto__" || name == "constructor" || name == "prototype"
}

func isNull(value []byte) bool { return string(value) == "null" }
