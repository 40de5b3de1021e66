//! Measures from outside the crate: they train as those inside, and their mistakes are told.

use trellis_guidance::trainer::StepRecord;
use trellis_guidance::{Batches, Cka, Error, Fcn, Guidance, Measure, Metric, Network, Result, Session, Training};
use trellis_lab::similarity::layer_matrix;
use trellis_tensor::{Graph, Layout, Var};

use crate::{gpu, training::runs};

/// Linear CKA by ops that know nothing of it.
#[derive(Debug)]
struct PlainCka;

fn centered_gram(x: Var<'_>) -> Result<Var<'_>> {
    let x = x.flatten()?;
    let x = x.sub(x.mean(&[0], true)?)?;
    Ok(x.matmul(x, Layout::NT)?)
}

impl Measure for PlainCka {
    fn describe(&self) -> String {
        "plain CKA".into()
    }

    fn least_examples(&self) -> usize {
        3
    }

    fn compare<'g>(&self, target: Var<'g>, guide: Var<'g>) -> Result<Var<'g>> {
        let (k, l) = (centered_gram(target)?, centered_gram(guide)?);
        let lengths = k.mul(k)?.sum_all()?.mul(l.mul(l)?.sum_all()?)?.sqrt()?;
        Ok(k.mul(l)?.sum_all()?.div(lengths)?)
    }

    fn ignores_offset(&self) -> bool {
        true
    }

    fn ignores_scale(&self) -> bool {
        true
    }
}

/// Mean product of activations: neither blind to scale, as it says, nor always a scalar.
#[derive(Debug)]
struct Wrong {
    scalar: bool,
}

impl Measure for Wrong {
    fn describe(&self) -> String {
        "wrong".into()
    }

    fn least_examples(&self) -> usize {
        1
    }

    fn compare<'g>(&self, target: Var<'g>, _: Var<'g>) -> Result<Var<'g>> {
        let squares = target.mul(target)?;
        Ok(if self.scalar { squares.mean_all()? } else { squares })
    }

    fn ignores_scale(&self) -> bool {
        true
    }
}

/// A run of a few steps guided by `metric`, with the gradient of the measure checked before the first.
fn train(metric: Metric, batches: Batches) -> Result<Vec<StepRecord>> {
    let data = runs::data(&gpu());
    let (_, guidance) = runs::networks(&data);
    let target = Network::new(Fcn::new(3, 16), &data, 6)?;
    let training = Training { batches, ..runs::small_training(12) };
    let mut session = Session::new(&target, &data, training, Some(&Guidance::align(guidance, metric)))?;
    session.check_invariants()?;
    let mut records = session.advance(12)?;
    records.extend(session.wait()?);
    Ok(records)
}

#[test]
fn a_measure_of_ones_own_trains_as_the_built_in_one() {
    let own = train(PlainCka.into(), Batches::Random).expect("trains");
    let built_in = train(Cka::linear().into(), Batches::Random).expect("trains");
    assert_eq!((own.len(), own[0].similarity.len()), (12, built_in[0].similarity.len()));
    for (own, built_in) in own.iter().zip(&built_in) {
        let pairs = own.similarity.iter().zip(&built_in.similarity).chain([(&own.loss, &built_in.loss)]);
        for (own, built_in) in pairs {
            assert!((own - built_in).abs() < 1e-5, "{own} for {built_in}");
        }
    }
    assert!((own[11].loss - own[0].loss).abs() > 0.01, "it learns nothing: {own:?}");
}

#[test]
fn mistakes_of_a_measure_are_told() {
    let error = train(Wrong { scalar: true }.into(), Batches::Random).expect_err("it follows the scale");
    assert!(matches!(error, Error::Invariant { invariant: "<X, dX> = 0", .. }), "{error}");
    let error = train(Wrong { scalar: false }.into(), Batches::Random).expect_err("a matrix").to_string();
    assert!(error.contains("wrong of f32[16, 16]") && error.contains("not a scalar"), "{error}");
    let error = train(PlainCka.into(), Batches::Fixed).expect_err("no Gram matrix").to_string();
    assert!(error.contains("plain CKA compares activations") && error.contains("draw random batches"), "{error}");

    let (graph, metric) = (Graph::new(), Metric::from(PlainCka));
    let layer = |n: usize| graph.constant(1.0, [n, 4]);
    let error = |result: Result<Var<'_>>| result.expect_err("refused").to_string();
    let compare = |x, y| error(metric.compare(layer(x), layer(y)).map(|similarity| similarity.value));
    assert!(compare(2, 2).contains("2 examples are too few: plain CKA compares at least 3"), "{}", compare(2, 2));
    assert!(compare(4, 5).contains("the same examples, not f32[4, 4] and f32[5, 4]"), "{}", compare(4, 5));
    assert!(error(layer_matrix(&metric, &[layer(4)], &[layer(4)])).contains("pair by pair"));
}
