// journal-verify checks an exported journal, or the proof of one entry, without a line of Kedge's code: signed note and
// Merkle tree come from golang.org/x/mod/sumdb. It knows c2sp.org/tlog-tiles and c2sp.org/tlog-proof, nothing of entries.
//
//	journal-verify export DIR VKEY         every entry, every tile, the signed root, consistency of all smaller sizes
//	journal-verify proof FILE ENTRY VKEY   a .tlog-proof against the entry's bytes
//	journal-verify increment DIR OLDER VKEY  new tiles and entries against an older checkpoint
//
// It prints one line and ends with status 0 when all is well, 1 when something is not, naming the first bad thing.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func main() {
	line, err := run(os.Args[1:])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(line)
}

func run(args []string) (string, error) {
	if len(args) == 3 && args[0] == "export" {
		return verifyExport(args[1], args[2])
	}
	if len(args) == 4 && args[0] == "proof" {
		return verifyProof(args[1], args[2], args[3])
	}
	if len(args) == 4 && args[0] == "increment" {
		return verifyIncrement(args[1], args[2], args[3])
	}
	return "", fmt.Errorf("usage: journal-verify export DIR VKEY | proof FILE ENTRY VKEY | increment DIR OLDER VKEY")
}

// openCheckpoint verifies the note under vkey and reads origin, size and root.
func openCheckpoint(data []byte, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("vkey: %v", err)
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("checkpoint: not three lines of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("checkpoint: size %q", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: root %q", lines[2])
	}
	return tlog.Tree{N: size, Hash: root}, nil
}

// tilePath is the path of c2sp.org/tlog-tiles: without the height, and with entries instead of data.
func tilePath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), "tile/8/")
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

// tileFiles reads hash tiles from a directory for tlog.TileHashReader, which authenticates them against the root.
type tileFiles struct{ dir string }

func (files tileFiles) Height() int { return height }

func (files tileFiles) SaveTiles(tiles []tlog.Tile, data [][]byte) {}

func (files tileFiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	result := make([][]byte, len(tiles))
	for i, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(files.dir, tilePath(tile)))
		if err != nil {
			return nil, err
		}
		result[i] = data
	}
	return result, nil
}

func verifyExport(dir, vkey string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return "", err
	}
	tree, err := openCheckpoint(data, vkey)
	if err != nil {
		return "", err
	}
	wanted := allTiles(tree.N)
	if err := checkFiles(dir, wanted); err != nil {
		return "", err
	}
	reader := tlog.TileHashReader(tree, tileFiles{dir})
	stored := map[int64]tlog.Hash{} // all hashes, computed from the entries alone
	for index := int64(0); index < tree.N; index += 1 << height {
		if err := addBundle(dir, tree.N, index, stored); err != nil {
			return "", err
		}
	}
	computed := hashesOf(stored)
	if err := checkTiles(dir, wanted, computed); err != nil {
		return "", err
	}
	root, err := tlog.TreeHash(tree.N, computed)
	if err != nil || root != tree.Hash {
		return "", fmt.Errorf("checkpoint: the root is not that of the entries")
	}
	return checkProofs(tree, reader, stored)
}

func hashesOf(stored map[int64]tlog.Hash) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		result := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			result[i] = stored[index]
		}
		return result, nil
	})
}

// allTiles are the hash tiles and the bundles of a log of this size.
func allTiles(size int64) []tlog.Tile {
	tiles := levelTiles(-1, size)
	for level := 0; size > 0; level++ {
		tiles = append(tiles, levelTiles(level, size)...)
		size >>= height
	}
	return tiles
}

func levelTiles(level int, hashes int64) []tlog.Tile {
	var tiles []tlog.Tile
	for n := int64(0); n<<height < hashes; n++ {
		width := hashes - n<<height
		if width > 1<<height {
			width = 1 << height
		}
		tiles = append(tiles, tlog.Tile{H: height, L: level, N: n, W: int(width)})
	}
	return tiles
}

func checkFiles(dir string, wanted []tlog.Tile) error {
	paths := map[string]bool{}
	for _, tile := range wanted {
		paths[tilePath(tile)] = true
		if _, err := os.Stat(filepath.Join(dir, tilePath(tile))); err != nil {
			return fmt.Errorf("%s: the file is missing", tilePath(tile))
		}
	}
	return filepath.WalkDir(filepath.Join(dir, "tile"), func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) && len(wanted) == 0 {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		if relative, _ := filepath.Rel(dir, path); !paths[filepath.ToSlash(relative)] {
			return fmt.Errorf("%s: surplus file", filepath.ToSlash(relative))
		}
		return nil
	})
}

// addBundle hashes the entries of one bundle and compares each with tile/0.
func addBundle(dir string, size, index int64, stored map[int64]tlog.Hash) error {
	width := size - index
	if width > 1<<height {
		width = 1 << height
	}
	bundle := tlog.Tile{H: height, L: -1, N: index >> height, W: int(width)}
	level := tlog.Tile{H: height, L: 0, N: bundle.N, W: bundle.W}
	data, err := os.ReadFile(filepath.Join(dir, tilePath(bundle)))
	if err != nil {
		return err
	}
	hashes, err := os.ReadFile(filepath.Join(dir, tilePath(level)))
	if err != nil {
		return err
	}
	for i := index; i < index+width; i++ {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return fmt.Errorf("entry %d: cut off in %s", i, tilePath(bundle))
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entry := data[2:end]
		data = data[end:]
		hash, at := tlog.RecordHash(entry), int(i-index)*tlog.HashSize
		if len(hashes) < at+tlog.HashSize || !bytes.Equal(hashes[at:at+tlog.HashSize], hash[:]) {
			return fmt.Errorf("entry %d: leaf hash differs from %s", i, tilePath(level))
		}
		more, err := tlog.StoredHashes(i, entry, hashesOf(stored))
		if err != nil {
			return err
		}
		for j, hash := range more {
			stored[tlog.StoredHashIndex(0, i)+int64(j)] = hash
		}
	}
	if len(data) != 0 {
		return fmt.Errorf("%s: bytes after the last entry", tilePath(bundle))
	}
	return nil
}

// checkTiles compares every hash tile with the hashes computed from the entries.
func checkTiles(dir string, tiles []tlog.Tile, computed tlog.HashReader) error {
	for _, tile := range tiles {
		if tile.L < 0 {
			continue
		}
		expected, err := tlog.ReadTileData(tile, computed)
		if err != nil {
			return err
		}
		found, err := os.ReadFile(filepath.Join(dir, tilePath(tile)))
		if err != nil || !bytes.Equal(found, expected) {
			return fmt.Errorf("%s: not the hashes of the entries", tilePath(tile))
		}
	}
	return nil
}

// checkProofs proves each entry, and each smaller tree, from the tiles, as a client that fetches them does.
func checkProofs(tree tlog.Tree, reader tlog.HashReader, stored map[int64]tlog.Hash) (string, error) {
	computed := hashesOf(stored)
	step := tree.N/512 + 1
	for index := int64(0); index < tree.N; index += step {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return "", fmt.Errorf("entry %d: %v", index, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, stored[tlog.StoredHashIndex(0, index)]); err != nil {
			return "", fmt.Errorf("entry %d: %v", index, err)
		}
		old, err := tlog.TreeHash(index+1, computed)
		if err != nil {
			return "", fmt.Errorf("size %d: %v", index+1, err)
		}
		consistency, err := tlog.ProveTree(tree.N, index+1, reader)
		if err != nil {
			return "", fmt.Errorf("size %d: %v", index+1, err)
		}
		if err := tlog.CheckTree(consistency, tree.N, tree.Hash, index+1, old); err != nil {
			return "", fmt.Errorf("size %d: %v", index+1, err)
		}
	}
	return fmt.Sprintf("ok %d %x", tree.N, tree.Hash[:]), nil
}

// verifyProof reads c2sp.org/tlog-proof by its text and checks it with tlog.CheckRecord.
func verifyProof(path, entryPath, vkey string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	entry, err := os.ReadFile(entryPath)
	if err != nil {
		return "", err
	}
	head, checkpoint, ok := strings.Cut(string(data), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != "c2sp.org/tlog-proof@v1" {
		return "", fmt.Errorf("proof: not a tlog-proof")
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return "", fmt.Errorf("proof: no index")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return "", fmt.Errorf("proof: index: %v", err)
	}
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(hash) != tlog.HashSize {
			return "", fmt.Errorf("proof: hash %q", line)
		}
		proof = append(proof, tlog.Hash(*(*[tlog.HashSize]byte)(hash)))
	}
	tree, err := openCheckpoint([]byte(checkpoint), vkey)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return "", fmt.Errorf("entry %d: %v", index, err)
	}
	return fmt.Sprintf("ok %d of %d", index, tree.N), nil
}

// verifyIncrement checks that the tree of checkpoint, from the tiles of dir alone, extends that of the older checkpoint,
// and that every entry from the older size on is under the new root.
func verifyIncrement(dir, older, vkey string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		return "", err
	}
	tree, err := openCheckpoint(data, vkey)
	if err != nil {
		return "", err
	}
	before, err := os.ReadFile(older)
	if err != nil {
		return "", err
	}
	old, err := openCheckpoint(before, vkey)
	if err != nil {
		return "", fmt.Errorf("older %v", err)
	}
	reader := tlog.TileHashReader(tree, tileFiles{dir})
	proof, err := tlog.ProveTree(tree.N, old.N, reader)
	if err != nil {
		return "", fmt.Errorf("tiles: %v", err)
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		return "", fmt.Errorf("older checkpoint: %v", err)
	}
	for index := old.N; index < tree.N; index++ {
		entry, err := readEntry(dir, tree.N, index)
		if err != nil {
			return "", err
		}
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return "", fmt.Errorf("entry %d: %v", index, err)
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
			return "", fmt.Errorf("entry %d: %v", index, err)
		}
	}
	return fmt.Sprintf("ok %d to %d", old.N, tree.N), nil
}

// readEntry finds an entry in its bundle.
func readEntry(dir string, size, index int64) ([]byte, error) {
	first := index >> height << height
	width := size - first
	if width > 1<<height {
		width = 1 << height
	}
	path := tilePath(tlog.Tile{H: height, L: -1, N: index >> height, W: int(width)})
	data, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		return nil, err
	}
	for at := first; ; at++ {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return nil, fmt.Errorf("entry %d: cut off in %s", at, path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		if at == index {
			return data[2:end], nil
		}
		data = data[end:]
	}
}
