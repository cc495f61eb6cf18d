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

/// Whether an answer is a "no" to POPE's script: the word `no` or `not` is in its first sentence. All others are a "yes".
fn is_no(answer: &str) -> bool {
    let sentence = answer.split('.').next().unwrap_or_default().to_lowercase();
    let mut words = sentence.split(|c: char| !c.is_alphanumeric());
    words.any(|word| word == "no" || word == "not")
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
    /// Wrong "no".
    pub false_negatives: usize,
}

impl YesNo {
    /// Counts an answer, if the question is one of yes and no; no answer is a wrong one.
    pub fn count(&mut self, question: &Question, answer: Option<&str>) {
        let [right] = question.answers.as_slice() else { return };
        let right = match normalise(right).as_str() {
            "yes" => true,
            "no" => false,
            _ => return,
        };
        let counter = match (right, answer.map_or(!right, |answer| !is_no(answer))) {
            (true, true) => &mut self.true_positives,
            (true, false) => &mut self.false_negatives,
            (false, true) => &mut self.false_positives,
            (false, false) => &mut self.true_negatives,
        };
        *counter += 1;
    }

    /// Share of right answers; `None` if none were counted.
    pub fn accuracy(&self) -> Option<f64> {
        let wrong = self.false_positives + self.false_negatives;
        share(self.true_positives + self.true_negatives, wrong)
    }

    /// `2 TP / (2 TP + FP + FN)`; `None` if nothing is, or was said to be, "yes".
    pub fn f1(&self) -> Option<f64> {
        share(2 * self.true_positives, self.false_positives + self.false_negatives)
    }
}

/// `part / (part + rest)`
fn share(part: usize, rest: usize) -> Option<f64> {
    (part + rest > 0).then(|| part as f64 / (part + rest) as f64)
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
            picture: 0,
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
        assert_eq!((counts.accuracy(), counts.f1()), (None, None));
        for (right, answer) in [
            ("yes", Some("Yes, there is.")),
            ("yes", Some("no")),
            ("yes", Some("a dog")),
            ("yes", None),
            ("no", Some("No.")),
            ("no", Some("There is not. Yes.")),
            ("no", Some("yes")),
            ("no", Some("a notebook. No.")),
            ("no", None),
            ("two", Some("yes")),
        ] {
            counts.count(&question(&[right]), answer);
        }
        let expected = YesNo { true_positives: 2, false_negatives: 2, true_negatives: 2, false_positives: 3 };
        assert_eq!((counts, counts.accuracy(), counts.f1()), (expected, Some(4.0 / 9.0), Some(4.0 / 9.0)));
        let mut negatives = YesNo::default();
        negatives.count(&question(&["no"]), Some("no"));
        assert_eq!((negatives.accuracy(), negatives.f1()), (Some(1.0), None));
    }
}
