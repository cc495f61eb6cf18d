//! `mustdrop eval`: what each way of dropping costs in right answers.

use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use twox_hash::XxHash64;

use super::{model::ModelArguments, print_json, write_whole};
use crate::{
    DeviceInfo, Error, Llava,
    drop::{Keep, PolicyName},
    eval::{
        Setting, ask_about, plot,
        questions::{self, Question},
        records::Records,
        summary::Summary,
    },
};

/// Measure how many questions are answered right under each way of dropping vision tokens.
#[derive(Debug, Args)]
#[command(
    after_help = "Each line of the questions is a JSON object:\n  {\"image\": \"1.png\", \"question\": \"Is there a dog?\", \
    \"answers\": [\"yes\"], \"type\": \"yes/no\"}\n\nAn answer is right if it equals one of `answers`, in whatever case, \
    without punctuation and articles and with\nnumbers as digits.\n\n\
    Examples:\n  mustdrop eval --data questions.jsonl --policies mustdrop,random --keep 64"
)]
pub struct Eval {
    /// The questions: JSON lines
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// The folder that the questions' pictures are in [default: that of --data]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,

    /// Ways to choose what is kept
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = [
        PolicyName::None, PolicyName::MustDrop, PolicyName::Random, PolicyName::Pool, PolicyName::FastV,
        PolicyName::VisionZip,
    ])]
    policies: Vec<PolicyName>,

    /// Budgets: tokens, or shares of the patches
    #[arg(long, value_name = "N|P%", value_delimiter = ',', default_values_t = [
        Keep::Tokens(192), Keep::Tokens(128), Keep::Tokens(64), Keep::Tokens(32),
    ])]
    keep: Vec<Keep>,

    /// Ask the first N questions alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Seed of the policy `random`
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Keep the answers in this file; if it has some already, only the others are computed
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,

    /// Draw accuracy over kept tokens (SVG)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    model: ModelArguments,
}

#[derive(Serialize)]
struct Output<'a> {
    device: &'a DeviceInfo,
    questions: usize,
    settings: Vec<Summary>,
}

impl Eval {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut questions = questions::read(&self.data)?;
        questions
            .truncate(self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)));
        let images =
            self.images.clone().or_else(|| self.data.parent().map(Path::to_owned)).unwrap_or_default();
        let groups = questions::by_picture(&questions);
        if let Some((missing, _)) = groups.iter().find(|(image, _)| !images.join(image).is_file()) {
            let found = format!("no {}", images.join(missing).display());
            return Err(Error::argument("--images", "the folder that the pictures are in", found).into());
        }
        let model = self.model.builder().build()?;
        say!("device: {}, weights: {}", model.device(), model.weight_format());
        let settings = self.settings(&model)?;
        let mut records = match &self.results {
            Some(path) => Records::open(path, &self.run_name(&model, &questions))?,
            None => Records::in_memory(),
        };

        let names: Vec<String> = settings.iter().map(Setting::to_string).collect();
        let rules: Vec<_> = settings.iter().map(|setting| (*setting, setting.pruning(self.seed))).collect();
        let progress = progress((settings.len() * questions.len()) as u64);
        for (image, asked) in &groups {
            let missing = |setting: usize, question: usize| records.get(&names[setting], question).is_none();
            let wanted: Vec<(usize, usize)> = (0..settings.len())
                .flat_map(|setting| asked.iter().map(move |(question, _)| (setting, *question)))
                .filter(|(setting, question)| missing(*setting, *question))
                .collect();
            progress.inc((settings.len() * asked.len() - wanted.len()) as u64);
            let is_wanted = |setting, question| wanted.binary_search(&(setting, question)).is_ok();
            ask_about(&model, &images.join(image), &rules, asked, is_wanted, |record| {
                progress.inc(1);
                records.add(record)
            })?;
        }
        progress.finish_and_clear();

        let summaries = Summary::all(&settings, &questions, &records);
        if let Some(path) = &self.plot {
            let svg = plot::svg(&summaries).map_err(anyhow::Error::msg)?;
            write_whole("--plot", path, svg.as_bytes())?;
        }
        if self.json {
            let output = Output { device: model.device(), questions: questions.len(), settings: summaries };
            return print_json(&output);
        }
        use std::io::Write;
        Ok(writeln!(std::io::stdout(), "{}", table(&summaries))?)
    }

    /// What is measured. A budget that a policy cannot hit is left out, with a line that says why; one that no policy
    /// can is an error.
    fn settings(&self, model: &Llava) -> anyhow::Result<Vec<Setting>> {
        let all = Setting::all(&self.policies, &self.keep);
        let (mut fit, mut refused) = (Vec::new(), None);
        for setting in all {
            match model.check(&setting.pruning(self.seed)) {
                Ok(()) => fit.push(setting),
                Err(error) if setting.policy == PolicyName::FastV => {
                    say!("{setting} is left out: {error}");
                    refused = Some(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        match refused {
            Some(error) if fit.is_empty() => Err(error.into()),
            _ => Ok(fit),
        }
    }

    /// Identifies everything that answers depend on.
    fn run_name(&self, model: &Llava, questions: &[Question]) -> String {
        let inputs = format!("{:016x} {} {} {questions:?}", model.fingerprint(), model.device(), self.seed);
        let fit = format!("{:?} {}", model.preprocessor, model.weight_format());
        format!("{:016x}", XxHash64::oneshot(0, (inputs + &fit).as_bytes()))
    }
}

fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} answers, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The results as a table that is Markdown, too.
fn table(summaries: &[Summary]) -> Table {
    let types: Vec<&String> = summaries.first().map_or_else(Vec::new, |first| first.by_type.keys().collect());
    let has_yes_no = summaries.iter().any(|summary| summary.yes_no_f1.is_some());
    let mut header: Vec<String> =
        ["policy", "keep", "right, %", "of dense, %", "tokens", "KV, MB", "s"].map(String::from).into();
    if has_yes_no {
        header.extend(["yes/no, %", "F1, %"].map(String::from));
    }
    header.extend(types.iter().map(|kind| format!("{kind}, %")));
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1}", 100.0 * share));
    for summary in summaries {
        let mut row = vec![
            summary.policy.to_string(),
            summary.keep.clone().unwrap_or("-".to_owned()),
            percent(Some(summary.accuracy)),
            percent(summary.of_dense),
            format!("{:.1}", summary.vision_tokens),
            format!("{:.1}", summary.kv_bytes / 1e6),
            summary.seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.2}")),
        ];
        if has_yes_no {
            row.extend([percent(summary.yes_no_accuracy), percent(summary.yes_no_f1)]);
        }
        let tally = |kind: &&String| summary.by_type.get(*kind).map(|tally| tally.accuracy());
        row.extend(types.iter().map(|kind| percent(tally(kind))));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
