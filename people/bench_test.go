package people

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

const benchRows = 100_000

// BenchmarkRows reads and checks rows with three attributes in each format.
func BenchmarkRows(b *testing.B) {
	for _, format := range []Format{CSV, NDJSON} {
		b.Run(string(format), func(b *testing.B) {
			var file bytes.Buffer
			if format == CSV {
				file.WriteString("external_id,email,city,level,vip\n")
			}
			for i := range benchRows {
				if format == CSV {
					fmt.Fprintf(&file, "user-%07d,user%07d@example.com,%s,%d,%t\n", i, i, []string{"Beijing", "上海", "Shenzhen"}[i%3], i%100, i%5 == 0)
				} else {
					fmt.Fprintf(&file, `{"external_id":"user-%07d","email":"user%07d@example.com","city":"%s","level":%d,"vip":%t}`+"\n", i, i,
						[]string{"Beijing", "上海", "Shenzhen"}[i%3], i%100, i%5 == 0)
				}
			}
			b.SetBytes(int64(file.Len()))
			b.ReportAllocs()
			for b.Loop() {
				rows, err := NewRows(bytes.NewReader(file.Bytes()), format, UTF8, RowOptions{})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for ; ; n++ {
					if _, _, err := rows.Next(); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				if n != benchRows {
					b.Fatalf("%d rows", n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
		})
	}
}
