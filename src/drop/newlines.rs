//! Newlines of a picture in tiles: each goes with the tokens of its row.
//!
//! A newline tells the decoder where a row of the picture ends. It is never judged by itself: it stays as long as a token of its
//! row does, and counts towards the budget.

/// Where a token of a picture stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The row whose newline it shares, if any.
    pub line: Option<u32>,
    /// Whether it is that newline.
    pub is_newline: bool,
    /// Whether it is a member of the key token set.
    pub is_key: bool,
}

/// The newline of every row, by the row: its index among the tokens.
fn newlines(tokens: &[Standing]) -> Vec<Option<usize>> {
    let lines = tokens.iter().filter_map(|token| token.line).max().map_or(0, |line| line as usize + 1);
    let mut newlines = vec![None; lines];
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| token.is_newline) {
        if let Some(newline) = token.line.and_then(|line| newlines.get_mut(line as usize)) {
            *newline = Some(index);
        }
    }
    newlines
}

/// The newline that a token brings along, if it is not there yet.
fn missing(newlines: &[Option<usize>], token: Standing, kept: &[bool]) -> Option<usize> {
    let newline = (*newlines.get(token.line? as usize)?)?;
    (!kept[newline]).then_some(newline)
}

/// The best tokens of `ranking`, with the newlines of their rows, `budget` in all: ascending.
///
/// Where a single place is left, a token takes it without its newline.
pub fn best_within(tokens: &[Standing], ranking: &[usize], budget: usize) -> Vec<usize> {
    let newlines = newlines(tokens);
    let mut kept = vec![false; tokens.len()];
    let mut left = budget.min(tokens.len());
    for token in ranking {
        if left == 0 {
            break;
        }
        kept[*token] = true;
        left -= 1;
        if let Some(newline) = missing(&newlines, tokens[*token], &kept).filter(|_| left > 0) {
            kept[newline] = true;
            left -= 1;
        }
    }
    indices(&kept)
}

/// These tokens with the newlines of their rows, ascending.
pub fn with_newlines(tokens: &[Standing], chosen: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let newlines = newlines(tokens);
    let mut kept = vec![false; tokens.len()];
    for token in chosen {
        kept[token] = true;
        if let Some(newline) = missing(&newlines, tokens[token], &kept) {
            kept[newline] = true;
        }
    }
    indices(&kept)
}

fn indices(kept: &[bool]) -> Vec<usize> {
    (0..kept.len()).filter(|token| kept[*token]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens without a row, and two rows of two with their newlines.
    fn tokens() -> Vec<Standing> {
        let token = |line| Standing { line, is_newline: false, is_key: false };
        let newline = |line| Standing { line: Some(line), is_newline: true, is_key: false };
        let rows = [0, 1].map(|line| [token(Some(line)), token(Some(line)), newline(line)]);
        [token(None), token(None)].into_iter().chain(rows.into_iter().flatten()).collect()
    }

    #[test]
    fn newlines_come_with_their_rows_and_count() {
        let tokens = tokens();
        assert_eq!(best_within(&tokens, &[5, 0, 6, 2, 1, 3], 3), [0, 5, 7]);
        assert_eq!(best_within(&tokens, &[5, 0, 6, 2, 1, 3], 4), [0, 5, 6, 7]);
        assert_eq!(
            best_within(&tokens, &[5, 0, 6, 2, 1, 3], 5),
            [0, 2, 5, 6, 7],
            "without the row's newline"
        );
        assert_eq!(best_within(&tokens, &[5, 0, 6, 2, 1, 3], 1), [5]);
        assert_eq!(best_within(&tokens, &[5, 0, 6, 2, 1, 3], 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(with_newlines(&tokens, [3, 1]), [1, 3, 4]);
    }
}
