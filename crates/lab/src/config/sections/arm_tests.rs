//! Arms of one's own, and what they may not say.

use std::path::Path;

use trellis_guidance::GuideSchedule;
use trellis_guidance::network::{HeadBias, InitialWeights};
use trellis_tensor::Schedule;

use crate::config::{ArmGuide, Config, NetworkConfig, TargetConfig};

fn error(text: &str) -> String {
    Config::parse(text, Path::new("x.toml")).unwrap_err().to_string()
}

#[test]
fn arms_are_defined_by_their_tables() {
    let text = "arms = [\"alone\", \"brief\", \"own\", \"untrained\"]\n[arm.brief]\nguide = \"untrained\"\nfirst_steps = 20\n\
        [arm.own]\nguide = \"none\"\ninit = \"orthogonal\"\nbias = \"label_prior\"\n[guidance]\ndecay_steps = 9\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    assert_eq!(
        ["alone", "brief", "own", "untrained"].map(|arm| config.guide_of(arm)),
        [ArmGuide::None, ArmGuide::Untrained, ArmGuide::None, ArmGuide::Untrained]
    );
    assert_eq!(config.schedule_of("brief"), GuideSchedule::first_steps(20));
    assert_eq!(config.schedule_of("untrained"), GuideSchedule::linear_decay(9));
    assert_eq!((config.guided_arm(), config.compared_with("own")), (Some("brief"), ArmGuide::Untrained));
    assert_eq!(config.target_of("own").bias, HeadBias::LabelPrior);
    assert_eq!(config.target_of("alone"), TargetConfig::default());
    let NetworkConfig::Fcn(fcn) = config.target_of("own").network else { panic!("the default is an FCN") };
    assert_eq!(fcn.init, InitialWeights::Orthogonal);
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
}

/// Each key of `[training]` may be another one in an arm, and has an effect there.
#[test]
fn an_arm_sets_any_key_of_training() {
    let text = "arms = [\"alone\", \"own\"]\n[training]\nmomentum = 0.5\n[arm.own]\nguide = \"none\"\n\
        training = { optimizer = \"sgd\", steps = 40, batch = 16, schedule = \"cosine\", warmup = 4, flip = true, eval_every = 7 }\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    let (alone, own) = (config.training("alone", 0), config.training("own", 0));
    assert_eq!((alone.steps, alone.batch, alone.flip, alone.eval_every), (300, 128, false, 50));
    assert_eq!((own.steps, own.batch, own.flip, own.eval_every), (40, 16, true, 7));
    assert_eq!(own.optimizer.rate, Schedule::Cosine { base: 1e-3, floor: 0.0, warmup: 4, total: 40 });
    assert_eq!(own.optimizer.rule, trellis_tensor::Rule::Sgd { momentum: 0.5, nesterov: false });
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
    let arm = |keys: &str| error(&format!("arms = [\"alone\", \"own\"]\n[arm.own]\nguide = \"none\"\n{keys}\n"));
    for (keys, key, problem) in [
        ("training = { momentm = 0.5 }", "arm.own.training.momentm", "did you mean `momentum`?"),
        ("training = { momentum = 0.5 }", "arm.own.training.momentum", "optimizer = \"sgd\" only"),
        ("training = { optimizer = \"sdg\" }", "arm.own.training.optimizer", "unknown variant `sdg`"),
        ("training = { batch = 5000 }", "arm.own.training.batch", "more than 2000"),
        ("training = { batch = 0 }", "arm.own.training.batch", "is 0"),
        ("training = { learning_rate = -1.0 }", "arm.own.training.learning_rate", "out of range"),
        ("learning_rate = 0.1\ntraining = { learning_rate = 0.1 }", "arm.own.training.learning_rate", "the same as"),
        ("training = { steps = 3, epochs = 4 }", "arm.own.training.epochs", "does not go with"),
        ("training = { crop = \"random\" }", "arm.own.training.crop", "no part can be chosen"),
        ("training = { optimizer = \"sgd\", warmup = 3 }", "arm.own.training.warmup", "schedule = \"cosine\" only"),
        ("schedule = \"always\"", "arm.own.schedule", "no guide"),
        ("control = \"input\"", "arm.own.control", "no guide"),
    ] {
        let message = arm(keys);
        assert!(message.contains(&format!("`{key}`")) && message.contains(problem), "{keys}: {message}");
    }
}

/// Each key of `[guidance]` may be another one in an arm, and has an effect there.
#[test]
fn an_arm_sets_any_key_of_guidance() {
    let text = "arms = [\"alone\", \"own\"]\n[guidance]\nbandwidth = 0.5\npairs = [[\"conv1\", \"fc1\"]]\n[arm.own]\nguide = \"untrained\"\n\
        weight = 2.0\nguidance = { metric = \"rbf_cka\", map = \"last\", taps = \"after_activation\" }\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    let own = config.guidance_of("own");
    assert_eq!(
        (own.metric().to_string(), own.weight),
        ("RBF CKA with σ = 0.5 of the median distance".to_string(), 2.0)
    );
    assert_eq!(own.layer_map(), trellis_guidance::LayerMap::last());
    let all =
        Config::parse(&text.replace("map = \"last\"", "map = \"all\", balance = true"), Path::new("x.toml")).unwrap();
    let all = all.guidance_of("own");
    assert_eq!((all.layer_map(), all.balance), (trellis_guidance::LayerMap::all(), true));
    let weighted = text.replace("map = \"last\"", "layer_weights = { fc2 = 0.5 }");
    let weighted = Config::parse(&weighted, Path::new("x.toml")).unwrap();
    assert_eq!(weighted.guidance_of("own").layer_weights, [("fc2".to_string(), 0.5)].into());
    assert_eq!(Config::parse(&weighted.to_toml(), Path::new("y.toml")).unwrap(), weighted);
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
    for (change, wanted) in [
        (("map = \"last\"", "mapp = \"last\""), "`arm.own.guidance.mapp`: unknown key; did you mean `map`?"),
        (
            ("metric = \"rbf_cka\"", "metric = \"cka\""),
            "`guidance.bandwidth`: means something with a metric of `rbf_cka`",
        ),
        (
            ("map = \"last\"", "layer_weights = { fc2 = -0.5 }"),
            "`arm.own.guidance.layer_weights.fc2`: -0.5 is out of range",
        ),
        (
            ("map = \"last\"", "map = \"all\", layer_weights = { fc2 = 0.5 }"),
            "`arm.own.guidance.layer_weights`: means something",
        ),
        (("map = \"last\"", "lambda = 0.5"), "`arm.own.guidance.lambda`: means something with metric = \"ridge\""),
        (("map = \"last\"", "map = \"last\", pairs = []"), "`arm.own.guidance.pairs`: does not go with `map`"),
        (("map = \"last\"", "weight = 1.0"), "`arm.own.guidance.weight`: says the same as `arm.own.weight`"),
        (("map = \"last\"", "first_steps = 3"), "`arm.own.guidance.first_steps`: unknown key"),
        (("map = \"last\"", "bandwidth = -1.0"), "`arm.own.guidance.bandwidth`: -1 is out of range"),
        (("guide = \"untrained\"\nweight = 2.0", "guide = \"none\""), "`arm.own.guidance`: has no meaning"),
    ] {
        let message = error(&text.replace(change.0, change.1));
        assert!(message.contains(wanted), "{change:?}: {message}");
    }
}

#[test]
fn lengths_of_an_arm_are_its_own() {
    let parse = |text: &str| Config::parse(text, Path::new("x.toml")).unwrap();
    let fading = parse("[arm.trained_first]\ndecay_steps = 20\n");
    assert_eq!(fading.schedule_of("trained_first"), GuideSchedule::linear_decay(20));
    let longer = parse("[training]\nsteps = 8\n[arm.trained_first]\ntraining = { steps = 20 }\n");
    assert_eq!(longer.schedule_of("trained_first"), GuideSchedule::first_steps(10));
    let given =
        parse("[training]\nsteps = 8\n[guidance]\nfirst_steps = 3\n[arm.trained_first]\ntraining = { steps = 20 }\n");
    assert_eq!(given.schedule_of("trained_first"), GuideSchedule::first_steps(3));
    // Evaluations in epochs are known with the data.
    parse("[training]\neval_every_epochs = 1\n[arm.trained]\nschedule = { until_loss = 0.5 }\n");
    let twice = "arms = [\"own\"]\n[arm.own]\nguide = \"x\"\n[guides.x]\nsteps = 3\nepochs = 2\n";
    assert!(error(twice).contains("`guides.x.epochs`: says the same as `guides.x.steps`"), "{}", error(twice));
    let epochs = parse(&twice.replace("steps = 3\n", ""));
    assert_eq!(parse(&epochs.to_toml()).to_toml(), epochs.to_toml());
    // An unguided arm is compared as the guided one is.
    let own = parse(
        "arms = [\"alone\", \"untrained\"]\n[arm.untrained]\nguidance = { metric = \"ridge\", map = \"last\" }\n",
    );
    assert_eq!(own.guidance_of("alone"), own.guidance_of("untrained"));
    let base = error("[guidance]\nbandwidth = -1.0\nmetric = \"rbf_cka\"\n[arm.trained]\nweight = 2.0\n");
    assert!(base.contains("`guidance.bandwidth`"), "{base}");
}

/// A guide that trains without labels leaves when they come, unless the arm says otherwise.
#[test]
fn steps_without_labels_are_the_guide_s() {
    let text = "arms = [\"own\", \"alone\"]\n[guidance]\ndecay_steps = 9\n[arm.own]\nguide = \"untrained\"\nunlabeled_steps = 20\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    assert_eq!(config.schedule_of("own"), GuideSchedule::first_steps(20));
    assert_eq!((config.unlabeled_steps_of("own"), config.unlabeled_steps_of("alone")), (20, 0));
    let stays = Config::parse(&format!("{text}schedule = \"always\"\n"), Path::new("x.toml")).unwrap();
    assert_eq!(stays.schedule_of("own"), GuideSchedule::always());
    for (change, wanted) in [
        (("= 20", "= 20\nfirst_steps = 10"), "have no loss at step 10"),
        (("= 20", "= 20\nschedule = { every = 2 }"), "have no loss at step 1"),
        (("= 20", "= 20\nschedule = { until_loss = 0.5 }"), "by what the run shows"),
        (("= 20", "= 300"), "leave no step with labels: 300 of 300"),
        (("= 20", "= 20\nweight = 0.0"), "the guide's weight is 0"),
        (("= 20", "= 0"), "is 0"),
        (("\"untrained\"", "\"none\""), "this arm has no guide"),
    ] {
        let message = error(&text.replace(change.0, change.1));
        assert!(message.contains("`arm.own.unlabeled_steps`") && message.contains(wanted), "{change:?}: {message}");
    }
}

#[test]
fn an_arm_begins_with_weights_that_there_are() {
    let text = "arms = [\"alone\", \"own\"]\n[arm.own]\nguide = \"none\"\n";
    let from = |from: &str| Config::parse(&format!("{text}init_from = \"{from}\"\n"), Path::new("x.toml"));
    let config = from("runs/a:b:alone").unwrap();
    let source = config.init_from("own").unwrap();
    assert_eq!((source.run.as_deref(), source.arm.as_str()), (Some(Path::new("runs/a:b")), "alone"));
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
    assert_eq!(from("alone").unwrap().init_from("own").unwrap().run, None);
    for (keys, key, wanted) in [
        ("init_from = \"own\"", "init_from", "not among the arms before"),
        ("init_from = \"alon\"", "init_from", "did you mean `alone`?"),
        ("init_from = \"runs/x:../y\"", "init_from", "is no arm"),
        ("init_from = \"alone\"\ninit = \"lsuv\"", "init", "no effect beside `init_from`"),
        ("init_from = \"alone\"\nbias = \"label_prior\"", "bias", "no effect beside `init_from`"),
        ("init = \"identity\"", "init", "is for recurrent weights"),
        ("init = \"zero_residual\"", "init", "no residual branch"),
        ("init = \"fixup\"", "init", "no residual branch"),
        ("init = \"best\"", "init", "unknown value `best`; known are default"),
    ] {
        let message = error(&format!("{text}{keys}\n"));
        assert!(message.contains(&format!("`arm.own.{key}`")) && message.contains(wanted), "{keys}: {message}");
    }
    let recurrent = "[data]\nset = \"copy_paste\"\n[guide]\nnetwork = \"transformer\"\n[target]\nnetwork = \"rnn\"\n";
    let gated = error(&format!("{recurrent}cell = \"lstm\"\ninit = \"kaiming\"\n"));
    assert!(gated.contains("`target.init`") && gated.contains("is for tanh cells"), "{gated}");
}

#[test]
fn an_arm_has_a_schedule_and_a_guide_of_its_own() {
    let text = "arms = [\"alone\", \"own\", \"fading\"]\n[guides.small]\nnetwork = \"fcn\"\nsteps = 3\n[arm.own]\nguide = \"small\"\n\
        schedule = { first_steps = 20 }\n[arm.fading]\nguide = \"untrained\"\nschedule = { linear_decay = 9 }\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    let small = ArmGuide::Named("small".to_string());
    assert_eq!((config.guide_of("own"), config.schedule_of("own")), (small.clone(), GuideSchedule::first_steps(20)));
    assert_eq!(config.schedule_of("fading"), GuideSchedule::linear_decay(9));
    assert_eq!(config.guides_in_use(), [ArmGuide::Untrained, small.clone()]);
    assert_eq!((config.guide_steps(&small), config.guide_steps(&ArmGuide::Untrained)), (3, 0));
    assert_eq!(config.table_of(&small).network.architecture().describe(), "fcn 6x128 bn");
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
    for (change, wanted) in [
        (("guide = \"small\"", "guide = \"smal\""), "`arm.own.guide`: unknown guide `smal`; did you mean `small`?"),
        (("guide = \"small\"", "guide = \"trained\""), "`guides.small`: no arm has this guide"),
        (
            ("[guides.small]", "[guides.trained]\nnetwork = \"cnn\"\n[guides.small]"),
            "`guides.trained`: cannot be the name of a guide",
        ),
        (
            ("first_steps = 20", "first_steps = 300"),
            "`arm.own.schedule`: the guide of the arm `own` would stay for 300",
        ),
        (("network = \"fcn\"", "network = \"rnn\""), "`guides.small.network`: takes tokens"),
        (
            ("linear_decay = 9 }", "linear_decay = 9 }\ndecay_steps = 3"),
            "`arm.fading.decay_steps`: does not go with schedule",
        ),
        (
            ("linear_decay = 9 }", "linear_decay = 9 }\ncontrol = \"noise\"\ntraining = { batches = \"fixed\" }"),
            "`arm.fading.control`: noise",
        ),
        (("{ linear_decay", "{ linear"), "known are always, first_steps, linear_decay"),
    ] {
        let message = error(&text.replace(change.0, change.1));
        assert!(message.contains(wanted), "{change:?}: {message}");
    }
}

#[test]
fn an_arm_names_further_guides() {
    let text = "arms = [\"alone\", \"one\", \"two\", \"both\"]\n[training]\nsteps = 90\n[guides.small]\nnetwork = \"fcn\"\n\
        [arm.one]\nguide = \"small\"\n[arm.two]\nguide = \"untrained\"\nfirst_steps = 20\n\
        [arm.both]\nguide = \"small\"\nweight = 2.0\nalso = [\"two\"]\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    assert_eq!(config.guiding_arms("both"), ["both", "two"]);
    // Epochs are known once the data are.
    let epochs = text.replace("steps = 90", "epochs = 9").replace("first_steps = 20", "first_steps = 2000");
    Config::parse(&epochs, Path::new("x.toml")).expect("may be long enough");
    assert_eq!(config.guiding_arms("one"), ["one"]);
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
    for (change, wanted) in [
        (
            ("also = [\"two\"]", "also = [\"tow\"]"),
            "`arm.both.also`: `tow` is no other guided arm of `arms`; name an arm that is trained too, not a guide; did you mean `two`?",
        ),
        (("also = [\"two\"]", "also = [\"both\"]"), "`both` is no other guided arm"),
        (("also = [\"two\"]", "also = [\"alone\"]"), "`alone` is no other guided arm"),
        (("also = [\"two\"]", "also = [\"two\", \"two\"]"), "names `two` twice"),
        (("first_steps = 20", "first_steps = 20\nalso = [\"one\"]"), "`two` has further guides itself"),
        (("first_steps = 20", "guidance = { taps = \"after_activation\" }"), "`two` captures its layers elsewhere"),
        (("first_steps = 20", "guidance = { method = \"hints\" }"), "`two` does not align layers"),
        (("first_steps = 20", "guidance = { balance = true }"), "`two` balances the gradient of one guide"),
        (("first_steps = 20", "unlabeled_steps = 20"), "`two` has steps without labels"),
        (
            ("also = [\"two\"]", "also = [\"two\", \"two\", \"two\", \"two\", \"two\", \"two\", \"two\", \"two\"]"),
            "name at most 7",
        ),
        (("weight = 2.0", "training = { steps = 15 }"), "`arm.both.also`: the guide of `two` would stay for 20"),
        (("weight = 2.0", "training = { batches = \"fixed\" }"), "`arm.both.training.batches`: fixed batches look up"),
        (
            ("guide = \"small\"\nweight = 2.0", "guide = \"none\""),
            "`arm.both.also`: has no meaning; give the arm a guide",
        ),
    ] {
        let changed = text.replace(change.0, change.1);
        assert_ne!(changed, text);
        let error = Config::parse(&changed, Path::new("x.toml")).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error} lacks {wanted}");
    }
}
