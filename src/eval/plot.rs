//! Accuracy over kept tokens, a curve for each way of dropping, as SVG.

use plotters::prelude::*;

use super::summary::Summary;
use crate::drop::PolicyName;

/// Width and height of the drawing.
const SIZE: (u32, u32) = (480, 380);

/// Colours that stay apart for readers who do not see all colours (Okabe and Ito; their yellow darker, to be seen on white).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(150, 140, 0),
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

/// A point of a curve: tokens, right answers in %, and the interval of those.
type Point = (f64, f64, Option<[f64; 2]>);

/// The curves, in the settings' order: one for each way of dropping.
fn curves(summaries: &[Summary]) -> Vec<(&Summary, Vec<Point>)> {
    let mut curves: Vec<(&Summary, Vec<Point>)> = Vec::new();
    for summary in summaries {
        let Some(tokens) = summary.vision_tokens else { continue };
        let interval = summary.accuracy_interval.map(|ends| ends.map(|end| 100.0 * end));
        let point = (tokens, 100.0 * summary.accuracy, interval);
        match curves.iter_mut().find(|(known, _)| known.setting.way() == summary.setting.way()) {
            Some((_, points)) => points.push(point),
            None => curves.push((summary, vec![point])),
        }
    }
    for (_, points) in &mut curves {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    curves
}

fn draw(summaries: &[Summary], document: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let curves = curves(summaries);
    let dropping = curves.iter().filter(|(summary, _)| summary.setting.policy != PolicyName::None);
    let tokens = dropping.flat_map(|(_, points)| points.iter().map(|point| point.0));
    let (least, most) = (tokens.clone().fold(f64::MAX, f64::min), tokens.fold(1.0, f64::max));
    let (least, most) = (least.min(most).max(1.0) * 0.9, most * 1.8); // the legend stands on the right
    // Curves rise, so that the corner below their right ends is free for the legend if the scale follows them.
    let ends = curves.iter().flat_map(|(_, points)| points).flat_map(|(_, right, interval)| {
        let [low, high] = interval.unwrap_or([*right; 2]);
        [low, high, *right]
    });
    let (lowest, highest) = (ends.clone().fold(100.0, f64::min), ends.fold(0.0, f64::max));
    let lowest = ((lowest / 10.0).floor() * 10.0).min(90.0);
    let highest = ((highest / 10.0).ceil() * 10.0).max(lowest + 10.0);

    let root = SVGBackend::with_string(document, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((least..most).log_scale().base(2.0), lowest..highest)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("vision tokens a decoder layer computes, on average")
        .y_desc("right answers, %")
        .x_label_formatter(&|tokens| format!("{tokens:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .draw()?;
    for (number, (summary, measured)) in curves.into_iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let mut points: Vec<(f64, f64)> =
            measured.iter().map(|(tokens, right, _)| (*tokens, *right)).collect();
        if let (PolicyName::None, Some((_, dense))) = (summary.setting.policy, points.first().copied()) {
            points = vec![(least, dense), (most, dense)];
        } else {
            // Where colours come again, points are hollow.
            let style = ShapeStyle { filled: number < COLOURS.len(), ..colour.stroke_width(1) };
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, style)))?;
            let bars = measured.iter().filter_map(|(tokens, _, interval)| Some((*tokens, (*interval)?)));
            chart.draw_series(bars.map(|(tokens, ends)| {
                PathElement::new(ends.map(|end| (tokens, end)).to_vec(), colour.mix(0.4).stroke_width(1))
            }))?;
        }
        let line = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        line.label(summary.setting.way())
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
