//! When an answer is right.

use super::questions::Question;

/// Whether `answer` is one of the right ones, after [`normalise`].
pub fn is_right(question: &Question, answer: &str) -> bool {
    let answer = normalise(answer);
    question.answers.iter().any(|right| normalise(right) == answer)
}

/// Lower case, without punctuation and articles, numbers as digits, single spaces: what VQA's evaluation does
/// (arXiv 1505.00468), as far as short English answers need it. An article goes only where another word is left: "A" may
/// be the letter on a sign.
pub fn normalise(text: &str) -> String {
    const NUMBERS: [&str; 11] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let text = text.to_lowercase();
    let text: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let is_article = |word: &&str| ["a", "an", "the"].contains(word);
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if words.iter().all(is_article) {
        words.drain(..words.len().saturating_sub(1));
    } else {
        words.retain(|word| !is_article(word));
    }
    let words = words.into_iter().map(|word| match NUMBERS.iter().position(|number| *number == word) {
        Some(number) => number.to_string(),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The answer to a question of yes and no; `None` for any other.
pub fn yes_or_no(text: &str) -> Option<bool> {
    match normalise(text).split(' ').next() {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        _ => None,
    }
}

/// Answers to questions of yes and no, as POPE counts them (arXiv 2305.10355): "yes" is the positive class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct YesNo {
    /// Right "yes".
    pub true_positives: usize,
    /// Wrong "yes".
    pub false_positives: usize,
    /// Right "no".
    pub true_negatives: usize,
    /// Wrong "no", and anything else where "yes" is right.
    pub false_negatives: usize,
    /// Neither "yes" nor "no" where "no" is right.
    pub evasions: usize,
}

impl YesNo {
    /// Counts an answer, if the question is one of yes and no.
    pub fn count(&mut self, question: &Question, answer: &str) {
        let [right] = question.answers.as_slice() else { return };
        let Some(right) = yes_or_no(right).filter(|_| matches!(normalise(right).as_str(), "yes" | "no"))
        else {
            return;
        };
        let counter = match (right, yes_or_no(answer)) {
            (true, Some(true)) => &mut self.true_positives,
            (true, _) => &mut self.false_negatives,
            (false, Some(true)) => &mut self.false_positives,
            (false, Some(false)) => &mut self.true_negatives,
            (false, None) => &mut self.evasions,
        };
        *counter += 1;
    }

    /// Answers counted.
    pub fn total(&self) -> usize {
        self.true_positives
            + self.false_positives
            + self.true_negatives
            + self.false_negatives
            + self.evasions
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        (self.true_positives + self.true_negatives) as f64 / self.total().max(1) as f64
    }

    /// `2 TP / (2 TP + FP + FN)`
    pub fn f1(&self) -> f64 {
        let twice = 2 * self.true_positives;
        twice as f64 / (twice + self.false_positives + self.false_negatives).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(right: &[&str]) -> Question {
        Question {
            image: "a.png".into(),
            question: "?".into(),
            answers: right.iter().map(|right| (*right).to_owned()).collect(),
            kind: "x".into(),
        }
    }

    #[test]
    fn spelling_does_not_matter_but_words_do() {
        for (right, answer) in [
            ("two", "2"),
            ("a dog", "Dog."),
            ("top left", "The top  left!"),
            ("a dog and a cat", "dog and cat"),
            ("a", "A"),
            ("an A", "a."),
        ] {
            assert!(is_right(&question(&[right]), answer), "{answer} for {right}");
        }
        assert!(is_right(&question(&["grey", "gray"]), "gray"));
        for (right, answer) in
            [("two", "three"), ("dog", "dogs"), ("yes", "no"), ("yes", ""), ("a", ""), ("a", "the")]
        {
            assert!(!is_right(&question(&[right]), answer), "{answer} for {right}");
        }
    }

    #[test]
    fn yes_and_no_are_counted_as_pope_does() {
        let mut counts = YesNo::default();
        for (right, answer) in [
            ("yes", "Yes, there is."),
            ("yes", "no"),
            ("yes", "a dog"),
            ("no", "No."),
            ("no", "no"),
            ("no", "yes"),
            ("no", "perhaps"),
            ("two", "yes"),
        ] {
            counts.count(&question(&[right]), answer);
        }
        let expected = YesNo {
            true_positives: 1,
            false_negatives: 2,
            true_negatives: 2,
            false_positives: 1,
            evasions: 1,
        };
        assert_eq!((counts, counts.total()), (expected, 7));
        assert!((counts.accuracy() - 3.0 / 7.0).abs() < 1e-12);
        assert!((counts.f1() - 2.0 / 5.0).abs() < 1e-12);
    }
}
