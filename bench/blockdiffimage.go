package main

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
)

// pagedImage is an image of pages of 16 KiB such as a database server writes them: a header with a checksum and a log sequence number, rows of numbers and
// text, of which gzip leaves about 37 %, and a trailer. Some pages, at the end at first, are zero.
type pagedImage struct {
	path  string
	pages int64
	used  int64 // the rest is zero
	lsn   uint64
	rng   *rand.Rand
}

const (
	imageUsed    = 85 // percent of the pages at first
	imageAppends = 3  // of 1000 pages, in each generation
	// In each generation so many percent of the pages that are in use are changed: 22 to 27.
	changedLeast, changedSpread = 22, 5
	changedBytes                = 200 // of a page, in up to three rows
)

func newPagedImage(path string, size int64, seed uint64) *pagedImage {
	pages := size / pageSize
	return &pagedImage{path: path, pages: pages, used: pages * imageUsed / 100, lsn: 1 << 32, rng: rand.New(rand.NewPCG(seed, 0xb10cd1ff))}
}

// make writes the first generation.
func (m *pagedImage) make(ctx context.Context) (err error) {
	f, err := os.Create(m.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	page := make([]byte, pageSize)
	for n := range m.used {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m.fill(page, n)
		if _, err := f.WriteAt(page, n*pageSize); err != nil {
			return err
		}
	}
	// Zeros that were written: a device has no holes.
	clear(page)
	for n := m.used; n < m.pages; n++ {
		if _, err := f.WriteAt(page, n*pageSize); err != nil {
			return err
		}
	}
	return f.Sync()
}

var imageWords = []string{
	"delivered ", "pending ", "express ", "Hamburg ", "München ", "invoice ", "customer ", "2026-03-", "order no. ", "paid by card ", "street ", "returned ",
	"@example.com ", "standard shipping ", "EUR ", "warehouse ", "article ", "quantity ", "discount ", "NULL ",
}

// fill makes a page of rows.
func (m *pagedImage) fill(page []byte, n int64) {
	at := 120
	for row := uint64(0); at < pageSize-400; row++ {
		binary.BigEndian.PutUint64(page[at:], uint64(n)<<8|row) // the key
		binary.BigEndian.PutUint64(page[at+8:], m.lsn-row)      // the transaction
		for i := 16; i < 48; i += 8 {                           // a digest and an amount
			binary.LittleEndian.PutUint64(page[at+i:], m.rng.Uint64())
		}
		at += 44
		for range 4 + m.rng.IntN(6) {
			at += copy(page[at:], imageWords[m.rng.IntN(len(imageWords))])
			if m.rng.IntN(2) == 0 {
				at += copy(page[at:], digits[m.rng.IntN(len(digits)-6):][:1+m.rng.IntN(6)])
			}
		}
	}
	clear(page[at : pageSize-8])
	m.stamp(page, n)
}

const digits = "8301947265018374659203847561029384756019283746501928374650918273645019283746509182736450"

// stamp writes what every write of a page changes.
func (m *pagedImage) stamp(page []byte, n int64) {
	m.lsn += 100
	binary.BigEndian.PutUint32(page[4:], uint32(n))
	binary.BigEndian.PutUint64(page[16:], m.lsn)
	sum := crc32.ChecksumIEEE(page[4 : pageSize-8])
	binary.BigEndian.PutUint32(page, sum)
	binary.BigEndian.PutUint32(page[pageSize-8:], sum)
	binary.BigEndian.PutUint32(page[pageSize-4:], uint32(m.lsn))
}

// next makes the next generation, and returns how many pages were written.
func (m *pagedImage) next(ctx context.Context) (written int64, err error) {
	f, err := os.OpenFile(m.path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	want := m.used * int64(changedLeast*100+m.rng.IntN(changedSpread*100)) / 10_000
	touched := make([]bool, m.used)
	page := make([]byte, pageSize)
	for written < want {
		n := m.draw()
		if touched[n] {
			continue
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		touched[n] = true
		if _, err := f.ReadAt(page, n*pageSize); err != nil {
			return 0, err
		}
		m.change(page, n)
		if _, err := f.WriteAt(page, n*pageSize); err != nil {
			return 0, err
		}
		written++
	}
	for range m.pages * imageAppends / 1000 {
		if m.used == m.pages {
			break
		}
		m.fill(page, m.used)
		if _, err := f.WriteAt(page, m.used*pageSize); err != nil {
			return 0, err
		}
		m.used++
		written++
	}
	return written, f.Sync()
}

// draw draws a page: some are written much more often than others, and they lie anywhere.
func (m *pagedImage) draw() int64 {
	u := m.rng.Float64()
	rank := int64(u * u * u * float64(m.used))
	return int64(uint64(rank) * 0x9E3779B97F4A7C15 % uint64(m.used))
}

// change changes a few rows of a page.
func (m *pagedImage) change(page []byte, n int64) {
	rows := 1 + m.rng.IntN(3)
	for range rows {
		at := 120 + m.rng.IntN(pageSize-1000)
		for i := range changedBytes / rows {
			page[at+i] = byte(m.rng.Uint32())
		}
	}
	m.stamp(page, n)
}
