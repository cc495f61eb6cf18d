//! Accuracy over kept tokens, a curve for each way of dropping, as SVG.

use plotters::prelude::*;

use super::summary::Summary;
use crate::drop::PolicyName;

/// Width and height of the drawing.
const SIZE: (u32, u32) = (720, 440);

/// Colours that stay apart for readers who do not see all colours (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// Draws the results as an SVG document.
///
/// # Errors
///
/// What the drawing library says.
pub fn svg(summaries: &[Summary]) -> Result<String, String> {
    let mut document = String::new();
    draw(summaries, &mut document).map_err(|error| error.to_string())?;
    Ok(document)
}

fn draw(summaries: &[Summary], document: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let mut ways: Vec<&Summary> = Vec::new();
    for summary in summaries {
        if ways.iter().all(|known| known.way != summary.way) {
            ways.push(summary);
        }
    }
    // Tokens, accuracy, and the interval of that.
    let curve = |way: &str| -> Vec<(f64, f64, Option<[f64; 2]>)> {
        let own = summaries.iter().filter(|summary| summary.way == way);
        let mut points: Vec<_> = own
            .map(|summary| {
                let interval = summary.accuracy_interval.map(|ends| ends.map(|end| 100.0 * end));
                (summary.vision_tokens, 100.0 * summary.accuracy, interval)
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let dropping = summaries.iter().filter(|summary| summary.policy != PolicyName::None);
    let tokens = dropping.map(|summary| summary.vision_tokens);
    let (least, most) = (tokens.clone().fold(f64::MAX, f64::min), tokens.fold(1.0, f64::max));
    let (least, most) = (least.min(most).max(1.0) * 0.9, most * 1.8); // the legend stands on the right
    let lowest = summaries.iter().map(|summary| 100.0 * summary.accuracy).fold(100.0, f64::min);
    let lowest = (lowest / 10.0).floor() * 10.0;

    let root = SVGBackend::with_string(document, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((least..most).log_scale().base(2.0), lowest..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("vision tokens a decoder layer computes, on average")
        .y_desc("right answers, %")
        .x_label_formatter(&|tokens| format!("{tokens:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    for (summary, colour) in ways.into_iter().zip(COLOURS.into_iter().cycle()) {
        let measured = curve(&summary.way);
        let mut points: Vec<(f64, f64)> =
            measured.iter().map(|(tokens, right, _)| (*tokens, *right)).collect();
        if let (PolicyName::None, Some((_, dense))) = (summary.policy, points.first().copied()) {
            points = vec![(least, dense), (most, dense)];
        } else {
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            let bars = measured.iter().filter_map(|(tokens, _, interval)| Some((*tokens, (*interval)?)));
            chart.draw_series(bars.map(|(tokens, ends)| {
                PathElement::new(ends.map(|end| (tokens, end)).to_vec(), colour.mix(0.4).stroke_width(1))
            }))?;
        }
        let line = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        line.label(&summary.way)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
