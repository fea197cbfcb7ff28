package main

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"os"
	"time"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// This file lays the chart out: one panel for each driver, with the same axes,
// and the faults across all of them. marks.go has what is drawn in a panel.

// The chart is as wide as a README on GitHub, 830 pixels at 4/3 a point, and has
// a background of its own, for pages of any colour.
const (
	width   = vg.Length(622.5)
	height  = vg.Length(480)
	margin  = vg.Length(10)
	top     = vg.Length(94) // for the title, the legend, the faults' labels and a heading
	heading = vg.Length(22) // between panels, for the name of the lower one
	small   = vg.Length(8)  // the size of most texts
)

// The colours of the outcomes are Okabe and Ito's, which colour-blind readers can
// tell apart, but for a darker yellow.
var (
	paper   = color.RGBA{R: 0xfb, G: 0xfb, B: 0xfa, A: 0xff}
	ink     = color.RGBA{R: 0x24, G: 0x29, B: 0x2f, A: 0xff}
	grey    = color.RGBA{R: 0xe2, G: 0xe4, B: 0xe8, A: 0xff}
	colours = [fates]color.Color{
		succeeded: color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff},
		failed:    color.RGBA{R: 0xd5, G: 0x5e, A: 0xff},
		inDoubt:   color.RGBA{R: 0xdb, G: 0xa8, A: 0xff},
	}
)

// draw writes the chart into the plan's file.
func (p plan) draw(verdicts []verdict) error {
	caption := fmt.Sprintf("%d statements fall due each second; seed %d", p.workers*perWorker, p.seed)
	svg, err := chart(verdicts, schedule(p.seed, p.length), caption)
	if err != nil {
		return err
	}
	return os.WriteFile(p.svg, svg, 0o644)
}

// chart makes the SVG. The caption says which run it was.
func chart(verdicts []verdict, faults []fault, caption string) ([]byte, error) {
	var end time.Duration // of the run
	for _, v := range verdicts {
		for _, o := range v.outcomes {
			end = max(end, o.at)
		}
	}
	if end == 0 {
		return nil, errors.New("there is nothing to draw: no statement has ended")
	}
	highest := 0.0 // statements a second
	for _, v := range verdicts {
		highest = max(highest, v.highest(end))
	}
	var panels [][]*plot.Plot // one column
	for i, v := range verdicts {
		p := panel(v, faults, end, highest)
		if i < len(verdicts)-1 {
			p.X.Label.Text, p.X.Tick.Marker = "", unlabelled{}
		}
		panels = append(panels, []*plot.Plot{p})
	}

	canvas := vgsvg.NewWith(vgsvg.UseWH(width, height))
	dc := draw.New(canvas)
	dc.SetColor(paper)
	dc.Fill(dc.Rectangle.Path())
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadTop: top, PadBottom: margin, PadLeft: margin, PadRight: margin, PadY: heading}
	for i, row := range plot.Align(panels, tiles, dc) {
		p, v := panels[i][0], verdicts[i]
		p.Draw(row[0])
		data := p.DataCanvas(row[0])
		left, right := vg.Point{X: data.Min.X, Y: data.Max.Y + 5}, vg.Point{X: data.Max.X, Y: data.Max.Y + 5}
		dc.FillText(style(9.5, bold), left, drivers[i].title)
		dc.FillText(style(small, toTheLeft), right, v.String())
		if i == 0 {
			x, _ := p.Transforms(&data)
			labels(dc, data.Max.Y+heading-4, x, faults, end)
			left.Y, right.Y = height-margin-10, height-margin-10
			dc.FillText(style(11, bold), left, "The same workload through three drivers while faults strike")
			dc.FillText(style(small, toTheLeft), right, caption)
			legend(dc, vg.Point{X: left.X, Y: left.Y - 16})
		}
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return nil, err
	}
	// Few have the font that the texts were measured in. Arial and Helvetica are
	// as wide.
	out := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return bytes.Replace(out, []byte("<g transform"), []byte(night+"<g transform"), 1), nil
}

// night turns paper, ink and grid dark for those who read in the dark, and the one dark colour
// of the outcomes light. The others can be told apart on both.
const night = `<style>@media (prefers-color-scheme: dark) {
[style*="fill:#FBFBFA"] { fill: #0D1117 !important }
[style*="fill:#24292F"] { fill: #DFE4EA !important }
[style*="stroke:#24292F"] { stroke: #DFE4EA !important }
[style*="fill:#A00070"] { fill: #F07CC8 !important }
[style*="fill:#E2E4E8"] { fill: #30363D !important }
[style*="stroke:#E2E4E8"] { stroke: #30363D !important }
}</style>
`

func (v verdict) String() string {
	return fmt.Sprintf("%d succeeded, %d failed, %d in doubt, %d ran twice, %d lost",
		v.counts[succeeded], v.counts[failed], v.counts[inDoubt], v.doubled, len(v.lost))
}

// panel is a driver's plot.
func panel(v verdict, faults []fault, end time.Duration, highest float64) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil // a transparent one is written as a colour that there is not
	p.X.Label.Text, p.Y.Label.Text = "seconds since the start", "statements per second"
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Tick.Color = ink, ink
		a.Padding = 0
		for _, sty := range []*text.Style{&a.Label.TextStyle, &a.Tick.Label} {
			sty.Color, sty.Font = ink, style(small).Font
		}
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, grey
	p.Add(bands{faults, end}, grid)
	p.Add(v.areas(end)...)
	p.Add(strokes{faults, end}, marks{v, end})
	p.X.Min, p.X.Max = 0, end.Seconds()
	p.Y.Min, p.Y.Max = 0, highest*1.3 // with room for the marks
	return p
}

// unlabelled is the time axis of the upper panels.
type unlabelled struct{ plot.DefaultTicks }

func (u unlabelled) Ticks(from, to float64) []plot.Tick {
	ticks := u.DefaultTicks.Ticks(from, to)
	for i := range ticks {
		ticks[i].Label = ""
	}
	return ticks
}

func bold(s *text.Style)      { s.Font.Weight = xfont.WeightBold }
func toTheLeft(s *text.Style) { s.XAlign = draw.XRight }

func style(size vg.Length, changes ...func(*text.Style)) text.Style {
	s := text.Style{Color: ink, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}}
	for _, change := range changes {
		change(&s)
	}
	return s
}
