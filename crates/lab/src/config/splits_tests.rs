//! Sizes of splits: what is asked for, what becomes of it, and proposals that hold.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use trellis_rng::Rng;

use super::*;
use Amount::{Count, Share};

fn request(pools: [Option<usize>; 3], amounts: [Option<Amount>; 3]) -> Request<'static> {
    Request { name: "pets", unit: "images", pools, amounts, least: [3, 0, 2], batch: None, least_batch: 2 }
}

fn one(pool: usize, amounts: [Option<Amount>; 3]) -> [usize; 3] {
    request([Some(pool), None, None], amounts).resolve().unwrap()
}

fn counts(counts: [usize; 3]) -> [Option<Amount>; 3] {
    counts.map(|count| Some(Count(count)))
}

fn shares(shares: [f64; 3]) -> [Option<Amount>; 3] {
    shares.map(|share| Some(Share(share)))
}

#[test]
fn shares_are_of_what_the_split_is_drawn_from() {
    assert_eq!(one(90, shares([0.8, 0.1, 0.1])), [72, 9, 9]);
    // As random_split of PyTorch: what rounding leaves goes round.
    assert_eq!(one(95, shares([0.8, 0.1, 0.1])), [77, 9, 9]);
    assert_eq!(one(99, shares([0.7, 0.2, 0.1])), [70, 20, 9]);
    assert_eq!(one(90, shares([0.5, 0.0, 0.25])), [45, 0, 22]);
    assert_eq!(one(100, shares([0.29, 0.0, 0.29])), [29, 0, 29]);
    assert_eq!(one(90, [Some(Share(0.5)), Some(Count(4)), Some(Count(11))]), [45, 4, 11]);
    assert_eq!(request([Some(50), None, Some(20)], shares([1.0, 0.0, 1.0])).resolve().unwrap(), [50, 0, 20]);
    assert_eq!(request([Some(50), Some(10), Some(20)], shares([1.0, 0.5, 0.25])).resolve().unwrap(), [50, 5, 5]);
}

#[test]
fn all_of_a_folder_is_used_where_nothing_is_said() {
    let none = [None; 3];
    assert_eq!(one(90, none), [72, 9, 9]);
    assert_eq!(one(97, none), [79, 9, 9]);
    assert_eq!(one(12, none), [9, 1, 2], "as many to test with as the metric compares");
    assert_eq!(request([Some(50), None, Some(20)], none).resolve().unwrap(), [45, 5, 20]);
    assert_eq!(request([Some(50), Some(10), Some(20)], none).resolve().unwrap(), [50, 10, 20]);
    // The rest of what is said.
    assert_eq!(one(90, [None, Some(Count(20)), None]), [61, 20, 9]);
    assert_eq!(one(90, [None, Some(Count(0)), Some(Share(0.5))]), [45, 0, 45]);
    assert_eq!(one(90, [Some(Share(0.7)), None, None]), [63, 9, 9]);
    assert_eq!(one(90, [Some(Count(80)), None, None]), [80, 5, 5]);
}

#[test]
fn a_proposal_stands_beside_what_does_not_fit() {
    let refused = |request: Request<'_>| request.resolve().unwrap_err();
    let (key, problem, hint) = refused(request([Some(90), None, None], counts([2000, 500, 1000])));
    assert_eq!(key, "data.train");
    assert_eq!(problem, "pets holds 90 images, fewer than train = 2000, validation = 500, test = 1000");
    let proposal =
        "for example train = 72, validation = 9, test = 9 (or as shares: train = 0.8, validation = 0.1, test = 0.1)";
    assert_eq!(hint, proposal);
    let batch = Request { batch: Some(128), ..request([Some(90), None, None], counts([2000, 500, 1000])) };
    assert_eq!(refused(batch).2, format!("{proposal}, and in [training] batch = 64"));
    let (key, problem, hint) = refused(Request { batch: Some(73), ..request([Some(90), None, None], [None; 3]) });
    assert_eq!((key.as_str(), hint.as_str()), ("training.batch", "for example batch = 64"));
    assert!(problem.contains("73 is more than the 72 images of pets"), "{problem}");
    let (key, problem, hint) = refused(request([Some(90), None, Some(7)], counts([80, 0, 1000])));
    assert_eq!((key.as_str(), hint.as_str()), ("data.test", "for example train = 80, validation = 0, test = 7"));
    assert_eq!(problem, "pets holds 7 images to test with, fewer than test = 1000");
    let (_, problem, _) = refused(request([Some(90), None, Some(7)], counts([80, 20, 1000])));
    assert!(
        problem.contains("90 images to train with, fewer than train = 80, validation = 20; and holds 7"),
        "{problem}"
    );
    let (_, problem, _) = refused(request([Some(90), None, None], shares([0.8, 0.2, 0.1])));
    assert!(problem.ends_with("fewer than train = 0.8 (72), validation = 0.2 (18), test = 0.1 (9)"), "{problem}");
    let (_, problem, hint) = refused(request([Some(4), None, None], [None; 3]));
    assert!(
        problem.contains("too few") && hint.contains("at least 3 are needed to train with and 2 to test with"),
        "{problem}; {hint}"
    );
}

/// A proposal that a user copies from a message is never refused, whatever was asked of whatever there is.
#[test]
fn every_proposal_fits() {
    let mut rng = Rng::new(1, 0);
    let (mut proposals, mut hopeless) = (0, 0);
    for _ in 0..20_000 {
        let pool = |rng: &mut Rng| {
            let most = [6, 40, 400][rng.below(3)];
            rng.below(most)
        };
        let own = |rng: &mut Rng| (rng.below(3) == 0).then(|| pool(rng));
        let pools = [Some(pool(&mut rng)), own(&mut rng), own(&mut rng)];
        let amount = |rng: &mut Rng, least: usize| match rng.below(4) {
            0 => None,
            1 => Some(Share((rng.below(10) + least) as f64 / 10.0)),
            _ => {
                let most = [5, 100][rng.below(2)];
                Some(Count(rng.below(most) + least))
            }
        };
        let amounts = [amount(&mut rng, 1), amount(&mut rng, 0), amount(&mut rng, 1)];
        let least_batch = 2 + rng.below(3);
        let least = [(1 + rng.below(5)).max(least_batch), 0, least_batch];
        let batch = (rng.below(2) == 0).then(|| least_batch + rng.below(100));
        let request = Request { name: "x", unit: "images", pools, amounts, least, batch, least_batch };
        let Err((_, problem, hint)) = request.resolve() else { continue };
        if hint.starts_with("add some") {
            hopeless += 1;
            continue;
        }
        proposals += 1;
        let value = |text: &str, key: &str| -> Option<Amount> {
            let (_, rest) = text.split_once(&format!("{key} = "))?;
            let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            Some(if number.contains('.') { Share(number.parse().unwrap()) } else { Count(number.parse().unwrap()) })
        };
        let batch = value(&hint, "batch").map_or(batch, |batch| batch.count());
        let (numbers, as_shares) = hint.split_once("(or").unwrap_or((&hint, ""));
        for text in [numbers, as_shares] {
            let amounts: [Option<Amount>; 3] =
                std::array::from_fn(|split| value(text, NAMES[split]).or(request.amounts[split]));
            // With but one proposal, the other text is empty.
            if text.is_empty() {
                continue;
            }
            let copied = Request { amounts, batch, ..request.clone() };
            assert!(copied.resolve().is_ok(), "{request:?}\n{problem}; {hint}\n{:?}", copied.resolve());
        }
    }
    assert!(proposals > 3000 && hopeless > 300, "{proposals} and {hopeless}");
}
