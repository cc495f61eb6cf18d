//! `mustdrop eval`: what each way of dropping costs in right answers.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use twox_hash::XxHash64;

use super::{model::ModelArguments, not_over_an_input, print_json, write_whole};
use crate::{
    DeviceInfo, Error, Llava,
    drop::{Admit, Keep, PolicyName, Stage},
    eval::{
        Change, Setting, ask_about, plot,
        questions::{self, Question},
        records::Records,
        summary::Summary,
    },
};

/// Measure how many questions are answered right under each way of dropping vision tokens.
#[derive(Debug, Args)]
#[command(
    after_help = "Each line of the questions is a JSON object:\n  {\"image\": \"1.png\", \"question\": \"Is there a dog?\", \
    \"answers\": [\"yes\"], \"type\": \"yes/no\"}\n\n`image` is a path inside the folder of pictures; `type` may be left out. An answer is right if it equals one of \
    `answers`, in whatever case, without punctuation and articles and with number words as digits.\n\n\
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
        PolicyName::None, PolicyName::MustDrop, PolicyName::Coverage, PolicyName::Random, PolicyName::Pool,
        PolicyName::FastV, PolicyName::VisionZip,
    ])]
    policies: Vec<PolicyName>,

    /// Budgets: tokens, or shares of the patches
    #[arg(long, value_name = "N|P%", value_delimiter = ',', default_values_t = [
        Keep::Tokens(192), Keep::Tokens(128), Keep::Tokens(64), Keep::Tokens(32), Keep::Tokens(16),
    ])]
    keep: Vec<Keep>,

    /// Measure mustdrop also without these stages: merge, filter or evict, or several of them as in merge+evict
    #[arg(long, value_name = "STAGES", value_delimiter = ',')]
    without: Vec<Stages>,

    /// How mustdrop admits tokens: coverage, class, or both
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = [Admit::Coverage])]
    admit: Vec<Admit>,

    /// Measure mustdrop also with windows merged where coverage admits tokens
    #[arg(long)]
    merge: bool,

    /// Measure mustdrop also with tokens dropped behind these layers, or several as in 3+7
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pruning_layers: Vec<Layers>,

    /// Ask the first N questions alone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Ask N questions alone, about pictures that --seed draws
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "limit")]
    sample: Option<u64>,

    /// Seed of --sample and of the policy `random`
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Keep the answers in this file; if it has some already, of the same model, device and seed, only the others are
    /// computed
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

/// Changes whenever this program's answers may: results of an earlier program are not gone on with then.
const FORMAT: u64 = 5;

/// Stages that are switched off together.
#[derive(Debug, Clone)]
struct Stages(Vec<Stage>);

impl FromStr for Stages {
    type Err = Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let mut stages = text.split('+').map(str::parse).collect::<crate::Result<Vec<Stage>>>()?;
        stages.sort_unstable();
        stages.dedup();
        Ok(Self(stages))
    }
}

/// Layers behind which tokens are dropped, in one run.
#[derive(Debug, Clone)]
struct Layers(Vec<usize>);

impl FromStr for Layers {
    type Err = Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let layers: Option<Vec<usize>> = text.split('+').map(|layer| layer.parse().ok()).collect();
        let expected = "layers counted from 0, as in 3 or 3+7";
        layers.map(Self).ok_or_else(|| Error::argument("--pruning-layers", expected, format!("{text:?}")))
    }
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
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        questions.truncate(self.limit.map_or(usize::MAX, count));
        if let Some(sample) = self.sample {
            questions = questions::sample(questions, count(sample), self.seed);
        }
        let images =
            self.images.clone().or_else(|| self.data.parent().map(Path::to_owned)).unwrap_or_default();
        if let Some(missing) = questions.iter().find(|asked| !images.join(&asked.image).is_file()) {
            let found = format!("no {}", images.join(&missing.image).display());
            return Err(Error::argument("--images", "the folder that the pictures are in", found).into());
        }
        if let Some(plot) = &self.plot {
            not_over_an_input("--plot", plot, [&self.data].into_iter().chain(&self.results))?;
        }
        if self.results.is_some() {
            questions::identify(&mut questions, &images)?;
        }
        let groups = questions::by_picture(&questions);
        let model = self.model.builder().build()?;
        say!("device: {}, weights: {}", model.device(), model.weight_format());
        let settings = self.settings(&model)?;
        let mut records = match &self.results {
            Some(path) => Records::open(path, &self.run_name(&model)?)?,
            None => Records::in_memory(),
        };

        let rules: Vec<_> =
            settings.iter().map(|setting| (setting.clone(), setting.pruning(self.seed))).collect();
        let progress = progress((settings.len() * questions.len()) as u64);
        for (image, asked) in &groups {
            let missing = |setting: &Setting, question: &Question| records.get(setting, question).is_none();
            let wanted: HashSet<(usize, usize)> = settings
                .iter()
                .enumerate()
                .flat_map(|(number, setting)| asked.iter().map(move |asked| (number, setting, asked)))
                .filter(|(_, setting, (_, question))| missing(setting, question))
                .map(|(number, _, (question, _))| (number, *question))
                .collect();
            progress.inc((settings.len() * asked.len() - wanted.len()) as u64);
            let is_wanted = |setting, question| wanted.contains(&(setting, question));
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
        let refused: usize = summaries.iter().map(|summary| summary.refused).sum();
        if refused > 0 {
            say!("{refused} times the model did not take a question; that counts as a wrong answer");
        }
        if self.json {
            let output = Output { device: model.device(), questions: questions.len(), settings: summaries };
            return print_json(&output);
        }
        use std::io::Write;
        Ok(writeln!(std::io::stdout(), "{}", tables(&summaries))?)
    }

    /// MustDrop as it is, and with each of the changes that were asked for.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for admit in self.admit.iter().copied() {
            let plain = Change { admit, ..Change::default() };
            changes.push(plain.clone());
            if self.merge && admit == Admit::Coverage {
                changes.push(Change { merge: Some(true), ..plain.clone() });
            }
            let layers = self.pruning_layers.iter();
            changes.extend(layers.map(|layers| Change { pruning_layers: layers.0.clone(), ..plain.clone() }));
            for Stages(stages) in &self.without {
                // Where coverage admits tokens, no windows are merged anyway.
                let is_on = |stage: &Stage| *stage != Stage::Merge || admit == Admit::Class;
                let without: Vec<Stage> = stages.iter().copied().filter(is_on).collect();
                changes.push(Change { without, ..plain.clone() });
            }
        }
        changes
    }

    /// What is measured. A budget that FastV cannot hit is left out for it, with a line that says why, unless nothing else
    /// is measured; any other that cannot be hit is an error.
    fn settings(&self, model: &Llava) -> anyhow::Result<Vec<Setting>> {
        let most = model.config.largest_picture().budgeted();
        for keep in &self.keep {
            keep.tokens(most)?;
        }
        let is_changed = !self.without.is_empty()
            || !self.pruning_layers.is_empty()
            || self.merge
            || self.admit != [Admit::Coverage];
        if is_changed && !self.policies.contains(&PolicyName::MustDrop) {
            let names = self.policies.iter().map(|policy| policy.as_str()).collect::<Vec<_>>().join(", ");
            let option = "--without, --admit, --merge or --pruning-layers";
            return Err(Error::argument(option, "mustdrop among --policies", names).into());
        }
        if self.merge && !self.admit.contains(&Admit::Coverage) {
            say!("--merge is left out: by class, windows are merged anyway");
        }
        let merges = |stages: &Stages| stages.0.contains(&Stage::Merge);
        if self.admit.contains(&Admit::Coverage) && self.without.iter().any(merges) {
            say!("merge is left out of --without where coverage admits tokens: no windows are merged there");
        }
        let all = Setting::all(&self.policies, &self.changes(), &self.keep);
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

    /// Identifies everything that answers depend on, but for pictures and questions.
    fn run_name(&self, model: &Llava) -> crate::Result<String> {
        let model_of = (model.fingerprint(), model.texts_fingerprint()?, model.weight_format());
        // The CPU path computes the same with any number of threads.
        let device = match model.device().index {
            Some(_) => model.device().to_string(),
            None => "cpu".to_owned(),
        };
        let inputs = format!("{model_of:?} {device} {:?} {}", model.preprocessor, self.seed);
        Ok(format!("{:016x}", XxHash64::oneshot(FORMAT, inputs.as_bytes())))
    }
}

fn progress(length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} answers, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The results as tables that are Markdown, too: what each setting costs, and which types of questions suffer.
fn tables(summaries: &[Summary]) -> String {
    format!("{}\n\n{}", costs(summaries), types(summaries))
}

fn costs(summaries: &[Summary]) -> Table {
    let mut header: Vec<String> =
        ["policy", "keep", "right, %", "95 %", "of dense, %", "95 %", "tokens", "KV, MB", "s"]
            .map(String::from)
            .into();
    let has_yes_no = summaries.iter().any(|summary| summary.yes_no_accuracy.is_some());
    if has_yes_no {
        header.extend(["yes/no, %", "F1, %"].map(String::from));
    }
    let rows = summaries.iter().map(|summary| {
        let mut row = vec![
            percent(Some(summary.accuracy)),
            interval(summary.accuracy_interval),
            percent(summary.of_dense),
            interval(summary.of_dense_interval),
            number(summary.vision_tokens, 1.0, 1),
            number(summary.kv_bytes, 1e-6, 1),
            number(summary.seconds, 1.0, 2),
        ];
        if has_yes_no {
            row.extend([percent(summary.yes_no_accuracy), percent(summary.yes_no_f1)]);
        }
        (summary, row)
    });
    table(header, rows)
}

fn types(summaries: &[Summary]) -> Table {
    let types: Vec<&String> = summaries.first().map_or_else(Vec::new, |first| first.by_type.keys().collect());
    let header = ["policy", "keep"].map(String::from).into_iter();
    let name = |kind: &&String| format!("{}, %", kind.replace(['\n', '\r'], " ").replace('|', "\\|"));
    let header = header.chain(types.iter().map(name)).collect();
    let rows = summaries.iter().map(|summary| {
        let share = |kind: &&String| summary.by_type.get(*kind).map(|tally| tally.accuracy());
        (summary, types.iter().map(|kind| percent(share(kind))).collect())
    });
    table(header, rows)
}

fn percent(share: Option<f64>) -> String {
    number(share, 100.0, 1)
}

fn number(value: Option<f64>, scale: f64, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{:.digits$}", scale * value))
}

fn interval(ends: Option<[f64; 2]>) -> String {
    ends.map_or("-".to_owned(), |[low, high]| format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high))
}

/// A row for each setting: its name, its budget, and what is said of it.
fn table<'a>(header: Vec<String>, rows: impl Iterator<Item = (&'a Summary, Vec<String>)>) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for (summary, said) in rows {
        let Setting { keep, .. } = &summary.setting;
        let name = [summary.setting.way(), keep.map_or("-".to_owned(), |keep| keep.to_string())];
        table.add_row(name.into_iter().chain(said));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
