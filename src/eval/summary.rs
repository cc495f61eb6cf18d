//! The figures of each way of dropping.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Setting,
    questions::Question,
    records::Records,
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
    /// Who chose.
    pub policy: PolicyName,
    /// The budget as it was asked for.
    pub keep: Option<String>,
    /// All questions.
    pub total: Tally,
    /// Share of right answers.
    pub accuracy: f64,
    /// The accuracy as a share of the one with everything kept, where that was measured on the same questions.
    pub of_dense: Option<f64>,
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
}

impl Summary {
    /// Summarises every setting, over the first `questions`.
    pub fn all(settings: &[Setting], questions: &[Question], records: &Records) -> Vec<Self> {
        let mut summaries: Vec<Self> =
            settings.iter().filter_map(|setting| Self::new(setting, questions, records)).collect();
        let dense = summaries.iter().find(|summary| summary.policy == PolicyName::None);
        let dense = dense.map(|dense| (dense.total.questions, dense.accuracy));
        for summary in &mut summaries {
            summary.of_dense = dense
                .filter(|(count, accuracy)| *count == summary.total.questions && *accuracy > 0.0)
                .map(|(_, accuracy)| summary.accuracy / accuracy);
        }
        summaries
    }

    /// `None` if nothing was answered.
    fn new(setting: &Setting, questions: &[Question], records: &Records) -> Option<Self> {
        let name = setting.to_string();
        let mut total = Tally::default();
        let mut by_type: BTreeMap<String, Tally> = BTreeMap::new();
        let mut yes_no = YesNo::default();
        let (mut tokens, mut bytes, mut seconds) = (0.0, 0.0, Vec::new());
        for (index, question) in questions.iter().enumerate() {
            let Some(record) = records.get(&name, index) else { continue };
            let right = usize::from(is_right(question, &record.answer));
            for tally in [&mut total, by_type.entry(question.kind.clone()).or_default()] {
                tally.questions += 1;
                tally.right += right;
            }
            yes_no.count(question, &record.answer);
            tokens += record.cost.vision_tokens;
            bytes += record.cost.kv_bytes as f64;
            seconds.extend(record.cost.seconds);
        }
        let count = (total.questions > 0).then_some(total.questions as f64)?;
        seconds.sort_by(f64::total_cmp);
        Some(Self {
            policy: setting.policy,
            keep: setting.keep.map(|keep| keep.to_string()),
            accuracy: total.accuracy(),
            total,
            of_dense: None,
            by_type,
            yes_no_accuracy: (yes_no.total() > 0).then(|| yes_no.accuracy()),
            yes_no_f1: (yes_no.total() > 0).then(|| yes_no.f1()),
            vision_tokens: tokens / count,
            kv_bytes: bytes / count,
            seconds: seconds.get(seconds.len() / 2).copied(),
        })
    }
}
