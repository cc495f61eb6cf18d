//! A screen as a drawing.

use std::fmt::Write;

use vt100::{Cell, Color, Screen};

/// Width and height of a cell, in pixels.
const CELL: [usize; 2] = [8, 16];
const MARGIN: usize = 8;
const BACKGROUND: &str = "#1e1e1e";
const INK: &str = "#d4d4d4";

/// The upper and the lower half of a cell.
const HALVES: [&str; 2] = ["\u{2580}", "\u{2584}"];

/// A screen down to its last row with something in it: half blocks as rectangles, everything else as text.
pub fn draw(screen: &Screen, rows: u16, columns: u16) -> String {
    let has_some = |row: &u16| {
        (0..columns)
            .filter_map(|column| screen.cell(*row, column))
            .any(|cell| !cell.contents().trim().is_empty())
    };
    let rows = (0..rows).rev().find(has_some).map_or(0, |last| last + 1);
    let [width, height] =
        [usize::from(columns) * CELL[0], usize::from(rows) * CELL[1]].map(|side| side + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for row in 0..rows {
        let cells: Vec<&Cell> = (0..columns).filter_map(|column| screen.cell(row, column)).collect();
        let top = MARGIN + usize::from(row) * CELL[1];
        halves(&mut svg, top, &cells, 0);
        halves(&mut svg, top + CELL[1] / 2, &cells, 1);
        let text: String = cells.iter().map(|cell| if is_half(cell) { " " } else { letter(cell) }).collect();
        if !text.trim().is_empty() {
            let text = text.trim_end().replace('&', "&amp;").replace('<', "&lt;");
            let baseline = top + CELL[1] * 3 / 4;
            let length = text.chars().count() * CELL[0];
            let _ = writeln!(
                svg,
                "<text x=\"{MARGIN}\" y=\"{baseline}\" fill=\"{INK}\" xml:space=\"preserve\" textLength=\"{length}\">{text}</text>"
            );
        }
    }
    svg + "</svg>\n"
}

fn is_half(cell: &Cell) -> bool {
    HALVES.contains(&cell.contents())
}

fn letter(cell: &Cell) -> &str {
    if cell.has_contents() { cell.contents() } else { " " }
}

/// The upper (0) or lower (1) half of the half blocks of a row, cells of one colour together.
fn halves(svg: &mut String, top: usize, cells: &[&Cell], half: usize) {
    let colour = |cell: &Cell| if cell.contents() == HALVES[half] { cell.fgcolor() } else { cell.bgcolor() };
    let of = |cell: &&Cell| is_half(cell).then(|| colour(cell));
    let mut start = 0;
    while start < cells.len() {
        let this = of(&cells[start]);
        let length = cells[start..].iter().take_while(|cell| of(cell) == this).count();
        if let Some(Color::Rgb(r, g, b)) = this {
            let [left, width] = [MARGIN + start * CELL[0], length * CELL[0]];
            let height = CELL[1] / 2;
            let _ = writeln!(
                svg,
                "<path fill=\"#{r:02x}{g:02x}{b:02x}\" d=\"M{left} {top}h{width}v{height}h-{width}z\"/>"
            );
        }
        start += length;
    }
}
