//! The figures of each way of dropping.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Setting,
    bootstrap::Bootstrap,
    questions::{Question, by_picture},
    records::{Outcome, Records},
    score::{YesNo, is_right},
};
use crate::drop::{PolicyName, Stage};

/// Questions answered and answered right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Questions.
    pub questions: usize,
    /// Right answers.
    pub right: usize,
}

impl Tally {
    /// Counts what became of a question.
    fn count(&mut self, question: &Question, outcome: &Outcome) {
        self.questions += 1;
        self.right +=
            usize::from(matches!(outcome, Outcome::Answered { answer, .. } if is_right(question, answer)));
    }

    /// Share of right answers.
    pub fn accuracy(self) -> f64 {
        self.right as f64 / self.questions.max(1) as f64
    }
}

/// The results of one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Who chose.
    pub policy: PolicyName,
    /// Stages that were switched off.
    pub without: Vec<Stage>,
    /// The budget as it was asked for.
    pub keep: Option<String>,
    /// All questions.
    pub total: Tally,
    /// Questions that the model did not take, too long ones for instance; they count as answered wrong.
    pub refused: usize,
    /// Share of right answers.
    pub accuracy: f64,
    /// Its 95 % interval, by [`Bootstrap`].
    pub accuracy_interval: Option<[f64; 2]>,
    /// The accuracy as a share of the one with everything kept, where that was measured on the same questions.
    pub of_dense: Option<f64>,
    /// Its 95 % interval; both accuracies are of the same draws of pictures.
    pub of_dense_interval: Option<[f64; 2]>,
    /// Questions of each type.
    pub by_type: BTreeMap<String, Tally>,
    /// Accuracy on the questions of yes and no; `None` if there are none.
    pub yes_no_accuracy: Option<f64>,
    /// F1 on the questions of yes and no, "yes" being positive.
    pub yes_no_f1: Option<f64>,
    /// Mean of the vision tokens that a decoder layer computed.
    pub vision_tokens: f64,
    /// Mean bytes of the caches.
    pub kv_bytes: f64,
    /// Median of the seconds from pixels to the end of the first answer about a picture.
    pub seconds: Option<f64>,
    /// The policy, and what it was without.
    #[serde(skip)]
    pub way: String,
}

/// The answers about one picture.
type ByPicture = Vec<Tally>;

impl Summary {
    /// Summarises every setting.
    pub fn all(settings: &[Setting], questions: &[Question], records: &Records) -> Vec<Self> {
        let pictures = by_picture(questions);
        let bootstrap = Bootstrap::new(pictures.len());
        let judged = settings.iter().filter_map(|setting| {
            let by_picture = judge(setting, &pictures, records);
            Some((Self::new(setting, questions, records)?, by_picture))
        });
        let mut judged: Vec<(Self, ByPicture)> = judged.collect();
        let right = |tallies: &ByPicture| tallies.iter().map(|tally| tally.right as f64).collect::<Vec<_>>();
        let asked =
            |tallies: &ByPicture| tallies.iter().map(|tally| tally.questions as f64).collect::<Vec<_>>();
        let dense = judged.iter().find(|(summary, _)| summary.policy == PolicyName::None);
        let dense = dense.map(|(summary, tallies)| (summary.accuracy, tallies.clone()));
        for (summary, tallies) in &mut judged {
            summary.accuracy_interval = bootstrap.ratio(&right(tallies), &asked(tallies));
            if let Some((accuracy, dense)) = &dense
                && *accuracy > 0.0
                && asked(dense) == asked(tallies)
            {
                summary.of_dense = Some(summary.accuracy / accuracy);
                summary.of_dense_interval = bootstrap.ratio(&right(tallies), &right(dense));
            }
        }
        judged.into_iter().map(|(summary, _)| summary).collect()
    }

    /// What needs no other setting; `None` if nothing was asked.
    fn new(setting: &Setting, questions: &[Question], records: &Records) -> Option<Self> {
        let name = setting.to_string();
        let mut total = Tally::default();
        let mut by_type: BTreeMap<String, Tally> = BTreeMap::new();
        let mut yes_no = YesNo::default();
        let (mut tokens, mut bytes, mut seconds, mut refused) = (0.0, 0.0, Vec::new(), 0);
        for (index, question) in questions.iter().enumerate() {
            let Some(record) = records.get(&name, index) else { continue };
            let answer = match &record.outcome {
                Outcome::Answered { answer, cost } => {
                    tokens += cost.vision_tokens;
                    bytes += cost.kv_bytes as f64;
                    seconds.extend(cost.seconds);
                    answer.as_str()
                }
                Outcome::Refused { .. } => {
                    refused += 1;
                    ""
                }
            };
            for tally in [&mut total, by_type.entry(question.kind.clone()).or_default()] {
                tally.count(question, &record.outcome);
            }
            yes_no.count(question, answer);
        }
        let answered = (total.questions - refused).max(1) as f64;
        seconds.sort_by(f64::total_cmp);
        (total.questions > 0).then(|| Self {
            policy: setting.policy,
            without: setting.without.clone(),
            keep: setting.keep.map(|keep| keep.to_string()),
            accuracy: total.accuracy(),
            accuracy_interval: None,
            total,
            refused,
            of_dense: None,
            of_dense_interval: None,
            by_type,
            yes_no_accuracy: (yes_no.total() > 0).then(|| yes_no.accuracy()),
            yes_no_f1: (yes_no.total() > 0).then(|| yes_no.f1()),
            vision_tokens: tokens / answered,
            kv_bytes: bytes / answered,
            seconds: seconds.get(seconds.len() / 2).copied(),
            way: setting.way(),
        })
    }
}

/// The answers about each picture under one setting.
fn judge(setting: &Setting, pictures: &[(&str, Vec<(usize, &Question)>)], records: &Records) -> ByPicture {
    let name = setting.to_string();
    let tally = |asked: &[(usize, &Question)]| {
        let mut tally = Tally::default();
        for (index, question) in asked {
            if let Some(record) = records.get(&name, *index) {
                tally.count(question, &record.outcome);
            }
        }
        tally
    };
    pictures.iter().map(|(_, asked)| tally(asked)).collect()
}
