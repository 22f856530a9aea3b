//! Area under the receiver operating characteristic.

/// How likely a score of `positive` is above one of the others, ties counting one half (Mann and Whitney's U over the
/// number of pairs); `None` where one side is empty.
///
/// # Panics
/// On slices of different lengths.
pub fn auroc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), positive.len(), "a score each");
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let positives = positive.iter().filter(|positive| **positive).count();
    let negatives = positive.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    // Twice U, in whole numbers: two for each negative below a positive, one for each equal.
    let (mut below, mut twice) = (0u64, 0u64);
    for equal in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let positives = equal.iter().filter(|&&index| positive[index]).count() as u64;
        let negatives = equal.len() as u64 - positives;
        twice += positives * (2 * below + negatives);
        below += negatives;
    }
    Some(twice as f64 / 2.0 / (positives as f64 * negatives as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_share_of_pairs_in_order() {
        let scores = [0.1, 0.4, 0.35, 0.8, 0.4];
        let positive = [false, false, true, true, true];
        // Pairs: 0.35 beats 0.1; 0.8 beats both; 0.4 beats 0.1 and ties.
        assert_eq!(auroc(&scores, &positive), Some((1.0 + 2.0 + 1.5) / 6.0));
        assert_eq!(auroc(&[1.0, 1.0], &[true, false]), Some(0.5));
        assert_eq!(auroc(&[-0.0, 0.0], &[true, false]), Some(0.5));
        assert_eq!(auroc(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(auroc(&[], &[]), None);
    }
}
