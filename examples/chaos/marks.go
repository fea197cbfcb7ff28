package main

import (
	"fmt"
	"image/color"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// This file draws what stands in a panel: how fast statements ended and how, the
// faults, and the doubles and losses.

// bins is how many parts the time is cut into; for marks, which have a number
// next to them, half as many.
const bins = 60

// stacked counts the outcomes of each fate a second, each on top of those before
// it.
func (v verdict) stacked(end time.Duration) (s [fates][bins]float64) {
	for _, o := range v.outcomes {
		for f := o.fate; f < fates; f++ {
			s[f][bin(o.at, end, bins)] += bins / end.Seconds()
		}
	}
	return s
}

// bin is the part of the run, of n, in which t lies.
func bin(t, end time.Duration, n int) int {
	return max(0, min(int(float64(n)*t.Seconds()/end.Seconds()), n-1))
}

func (v verdict) highest(end time.Duration) (highest float64) {
	for _, y := range v.stacked(end)[fates-1] {
		highest = max(highest, y)
	}
	return highest
}

// areas are the outcomes over time, stacked in steps.
func (v verdict) areas(end time.Duration) []plot.Plotter {
	var areas []plot.Plotter
	var below [bins]float64
	at := func(i int) float64 { return end.Seconds() * float64(i) / bins }
	for f, above := range v.stacked(end) {
		var outline plotter.XYs
		for i, y := range above {
			outline = append(outline, plotter.XY{X: at(i), Y: y}, plotter.XY{X: at(i + 1), Y: y})
		}
		for i := bins - 1; i >= 0; i-- {
			outline = append(outline, plotter.XY{X: at(i + 1), Y: below[i]}, plotter.XY{X: at(i), Y: below[i]})
		}
		areas = append(areas, &plotter.Polygon{XYs: []plotter.XYs{outline}, Color: colours[f]})
		below = above
	}
	return areas
}

// bands are the times of the faults that last.
type bands struct {
	faults []fault
	end    time.Duration
}

func (b bands) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for _, f := range b.faults {
		if f.at < b.end && f.lasts > 0 {
			from, to := x(f.at.Seconds()), x(min(f.at+f.lasts, b.end).Seconds())
			c.SetColor(grey)
			c.Fill(vg.Rectangle{Min: vg.Point{X: from, Y: c.Min.Y}, Max: vg.Point{X: to, Y: c.Max.Y}}.Path())
		}
	}
}

// strokes are the moments at which faults strike.
type strokes bands

var dashes = draw.LineStyle{Color: ink, Width: 0.6, Dashes: []vg.Length{2, 2}}

func (s strokes) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for _, f := range s.faults {
		if f.at < s.end {
			c.StrokeLine2(dashes, x(f.at.Seconds()), c.Min.Y, x(f.at.Seconds()), c.Max.Y)
		}
	}
}

// labels names the faults above the first panel.
func labels(c draw.Canvas, y vg.Length, x func(float64) vg.Length, faults []fault, end time.Duration) {
	sty := style(small)
	var free vg.Length // where the next may begin
	for _, f := range faults {
		if f.at < end {
			at := max(free, x(f.at.Seconds())-1)
			c.FillText(sty, vg.Point{X: at, Y: y}, f.label)
			free = at + sty.Width(f.label) + 4
		}
	}
}

// marks are the statements that ran twice or were lost, with their numbers, above
// the time at which it happened.
type marks struct {
	verdict
	end time.Duration
}

func (m marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	row := func(y vg.Length, times []time.Duration, glyph func(draw.Canvas, vg.Point)) {
		var counts [bins / 2]int
		for _, t := range times {
			counts[bin(t, m.end, len(counts))]++
		}
		for i, n := range counts {
			if n == 0 {
				continue
			}
			at := vg.Point{X: x(m.end.Seconds()*float64(i)/float64(len(counts))) + 5, Y: y}
			number := fmt.Sprint(n)
			c.SetColor(paper) // over lines of faults, which would run through the number
			c.Fill(vg.Rectangle{Min: vg.Point{X: at.X - 5, Y: y - 5}, Max: vg.Point{X: at.X + 7 + style(small).Width(number), Y: y + 5}}.Path())
			glyph(c, at)
			c.FillText(style(small), vg.Point{X: at.X + 5, Y: y - 3}, number)
		}
	}
	row(c.Max.Y-6, m.twice, diamond)
	row(c.Max.Y-17, m.lost, cross)
}

func diamond(c draw.Canvas, at vg.Point) {
	const r = 3.6
	c.FillPolygon(color.RGBA{R: 0xa0, B: 0x70, A: 0xff}, []vg.Point{
		{X: at.X - r, Y: at.Y}, {X: at.X, Y: at.Y + r}, {X: at.X + r, Y: at.Y}, {X: at.X, Y: at.Y - r}})
}

func cross(c draw.Canvas, at vg.Point) {
	const r = 2.6
	sty := draw.LineStyle{Color: ink, Width: 1.5}
	c.StrokeLine2(sty, at.X-r, at.Y-r, at.X+r, at.Y+r)
	c.StrokeLine2(sty, at.X-r, at.Y+r, at.X+r, at.Y-r)
}

// legend explains the colours and marks in one line.
func legend(c draw.Canvas, at vg.Point) {
	square := func(clr color.Color) func(draw.Canvas, vg.Point) {
		return func(c draw.Canvas, at vg.Point) {
			c.FillPolygon(clr, []vg.Point{{X: at.X - 4, Y: at.Y - 3.5}, {X: at.X + 4, Y: at.Y - 3.5}, {X: at.X + 4, Y: at.Y + 3.5}, {X: at.X - 4, Y: at.Y + 3.5}})
		}
	}
	sty := style(small)
	for _, entry := range []struct {
		glyph func(draw.Canvas, vg.Point)
		text  string
	}{
		{square(colours[succeeded]), succeeded.String()},
		{square(colours[failed]), failed.String()},
		{square(colours[inDoubt]), "in doubt: may have run"},
		{diamond, "ran twice (how many)"},
		{cross, "lost without an error (how many)"},
		{square(grey), "while a fault lasts"},
	} {
		entry.glyph(c, vg.Point{X: at.X + 4, Y: at.Y + 2.8})
		c.FillText(sty, vg.Point{X: at.X + 11, Y: at.Y}, entry.text)
		at.X += 11 + sty.Width(entry.text) + 13
	}
}
