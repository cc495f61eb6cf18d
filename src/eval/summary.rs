//! The figures of each way of dropping.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Cost, Setting,
    bootstrap::Bootstrap,
    questions::{Question, by_picture},
    records::{Outcome, Records},
    score::{YesNo, is_right},
};
use crate::drop::PolicyName;

/// Questions answered and answered right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Questions.
    pub questions: usize,
    /// Right answers.
    pub right: usize,
}

impl Tally {
    /// Share of right answers.
    pub fn accuracy(self) -> f64 {
        self.right as f64 / self.questions.max(1) as f64
    }
}

/// The results of one setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// What was measured.
    #[serde(flatten)]
    pub setting: Setting,
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
    /// F1 on the questions of yes and no, "yes" being positive; `None` if no answer is or ought to be "yes".
    pub yes_no_f1: Option<f64>,
    /// Mean of the vision tokens that a decoder layer computed; `None` if nothing was answered.
    pub vision_tokens: Option<f64>,
    /// Mean bytes of the caches; `None` if nothing was answered.
    pub kv_bytes: Option<f64>,
    /// Median of the seconds from pixels to the end of the first answer about a picture.
    pub seconds: Option<f64>,
}

/// Right answers about each picture.
type ByPicture = Vec<Tally>;

impl Summary {
    /// Summarises every setting.
    pub fn all(settings: &[Setting], questions: &[Question], records: &Records) -> Vec<Self> {
        let pictures = by_picture(questions);
        let bootstrap = Bootstrap::new(pictures.len());
        let mut judged: Vec<(Self, ByPicture)> =
            settings.iter().filter_map(|setting| Self::new(setting, &pictures, records)).collect();
        let right = |tallies: &ByPicture| tallies.iter().map(|tally| tally.right as f64).collect::<Vec<_>>();
        let asked =
            |tallies: &ByPicture| tallies.iter().map(|tally| tally.questions as f64).collect::<Vec<_>>();
        let dense = judged.iter().find(|(summary, _)| summary.setting.policy == PolicyName::None);
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
    fn new(
        setting: &Setting,
        pictures: &[(&str, Vec<(usize, &Question)>)],
        records: &Records,
    ) -> Option<(Self, ByPicture)> {
        let (mut total, mut refused) = (Tally::default(), 0);
        let mut by_type: BTreeMap<String, Tally> = BTreeMap::new();
        let mut yes_no = YesNo::default();
        let mut costs: Vec<Cost> = Vec::new();
        let mut by_picture = Vec::with_capacity(pictures.len());
        for (_, asked) in pictures {
            let mut own = Tally::default();
            for (_, question) in asked {
                let Some(record) = records.get(setting, question) else { continue };
                let answer = match &record.outcome {
                    Outcome::Answered { answer, cost } => {
                        costs.push(*cost);
                        Some(answer.as_str())
                    }
                    Outcome::Refused { .. } => None,
                };
                refused += usize::from(answer.is_none());
                let is_right = answer.is_some_and(|answer| is_right(question, answer));
                for tally in [&mut own, &mut total, by_type.entry(question.kind.clone()).or_default()] {
                    tally.questions += 1;
                    tally.right += usize::from(is_right);
                }
                yes_no.count(question, answer);
            }
            by_picture.push(own);
        }
        let mean = |of: fn(&Cost) -> f64| {
            (!costs.is_empty()).then(|| costs.iter().map(of).sum::<f64>() / costs.len() as f64)
        };
        let mut seconds: Vec<f64> = costs.iter().filter_map(|cost| cost.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let summary = Self {
            setting: setting.clone(),
            accuracy: total.accuracy(),
            accuracy_interval: None,
            total,
            refused,
            of_dense: None,
            of_dense_interval: None,
            by_type,
            yes_no_accuracy: yes_no.accuracy(),
            yes_no_f1: yes_no.f1(),
            vision_tokens: mean(|cost| cost.vision_tokens),
            kv_bytes: mean(|cost| cost.kv_bytes as f64),
            seconds: seconds.get(seconds.len() / 2).copied(),
        };
        (total.questions > 0).then_some((summary, by_picture))
    }
}
