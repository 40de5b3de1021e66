//! Files that must be refused, and one that must not.

use trellis_tensor::{LossScale, Schedule};

use super::*;
use trellis_guidance::Precision;

fn error(text: &str) -> String {
    Config::parse(text, Path::new("x.toml")).unwrap_err().to_string()
}

#[test]
fn the_resolved_file_reads_back_as_itself() {
    let text = "name = \"a\"\n[arm.alone]\nlearning_rate = 0.003\n[guidance]\npairs = [[\"conv1\", \"fc2\"]]\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    assert_eq!(config.training("alone", 0).optimizer.rate, Schedule::Constant(0.003));
    assert_eq!(config.training("trained", 0).optimizer.rate, Schedule::Constant(0.001));
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
}

#[test]
fn any_kind_of_network_is_target_or_guide() {
    let text = "[target]\nnetwork = \"cnn\"\nchannels = [4]\nstrides = [2]\n[guide]\nnetwork = \"fcn\"\ndepth = 2\nsteps = 7\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    assert_eq!(config.target_of("alone").network.architecture().describe(), "cnn 4 bn");
    assert_eq!(config.guide.network.architecture().describe(), "fcn 2x128 bn");
    assert_eq!(config.guide.keys.steps, 7);
    assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
    let text = "[arm.alone]\ndropout = 0.25\n";
    let config = Config::parse(text, Path::new("x.toml")).unwrap();
    assert_eq!(config.target_of("alone").network.architecture().describe(), "fcn 6x128 bn dropout 0.25");
    assert_eq!(config.target_of("trained").network.architecture().describe(), "fcn 6x128 bn");
}

#[test]
fn precision_is_f32_unless_the_file_says_mixed() {
    let precision = |text| Config::parse(text, Path::new("x.toml")).unwrap().training("alone", 0).precision;
    assert_eq!(precision(""), Precision::F32);
    assert_eq!(precision("[training]\nprecision = \"mixed\"\n"), Precision::Mixed(LossScale::default()));
}

#[test]
fn schedules_of_the_learning_rate() {
    let rate = |text: &str| {
        let text = format!("[training]\nsteps = 200\nlearning_rate = 0.5\n{text}");
        Config::parse(&text, Path::new("x.toml")).unwrap().training("alone", 0).optimizer.rate
    };
    assert_eq!(rate(""), Schedule::Constant(0.5));
    let cosine = Schedule::Cosine { base: 0.5, floor: 0.0, warmup: 7, total: 200 };
    assert_eq!(rate("schedule = \"cosine\"\nwarmup = 7"), cosine);
    let steps = Schedule::Steps { base: 0.5, factor: 0.25, every: 60 };
    assert_eq!(rate("schedule = \"steps\"\ndecay_every = 60\ndecay = 0.25"), steps);
}

#[test]
fn an_unknown_key_comes_with_line_and_suggestion() {
    let message = error("name = \"a\"\n[target]\ndept = 3\n");
    assert_eq!(message, "x.toml: `target.dept`: line 3: unknown key; did you mean `depth`?");
    assert!(error("[training]\noptimizer = \"adm\"\n").contains("did you mean `adam`?"));
    assert!(error("[training]\nprecision = \"mixd\"\n").contains("did you mean `mixed`?"));
    assert!(error("arms = [\"alon\"]\n").contains("did you mean `alone`?"));
    let wrong = error("[target]\ndepth = \"six\"\n");
    assert!(
        wrong.starts_with("x.toml: `target.depth`: line 2: ") && wrong.contains("expected a whole number"),
        "{wrong}"
    );
    assert!(error("[target\n").contains("line 1"));
    assert!(error("[targt]\n").contains("did you mean `target`?"));
    let unknown = error("[target]\nnetwork = \"cnm\"\n");
    assert!(unknown.contains("`target.network`: line 2: unknown value `cnm`; did you mean `cnn`?"), "{unknown}");
    assert!(error("[guide]\nsteps = \"six\"\n").contains("line 2"));
    // Keys of another kind.
    assert!(error("\n[guide]\nsteps = 3\ndepth = 3\n").contains("`guide.depth`: line 4: unknown key"));
}

#[test]
fn values_that_cannot_be_run_are_refused() {
    let text =
        "[data]\nset = \"text\"\n[target]\nnetwork = \"transformer\"\ncausal = true\n[guide]\nnetwork = \"rnn\"\n";
    assert!(Config::parse(text, Path::new("x.toml")).is_ok());
    assert!(error(&text.replace("true", "false")).contains("target.causal"));
    assert!(error(&text.replace("network = \"rnn\"", "network = \"transformer\"")).contains("guide.causal"));
    for (text, key) in [
        ("[target]\ndepth = 0\n", "target.depth"),
        ("[training]\nbatch = 5000\n", "training.batch"),
        ("[training]\nlearning_rate = nan\n", "learning_rate"),
        ("[guidance]\nweight = inf\n", "guidance.weight"),
        ("[guide]\nstrides = [1]\n", "guide.strides"),
        ("target = 3\n", "[target]"),
        ("[target]\nnetwork = \"cnn\"\nstrides = [1]\n", "target.strides"),
        ("[target]\nnetwork = \"cnn\"\n[arm.alone]\ndropout = 0.1\n", "arm.alone.dropout"),
        ("[target]\nnetwork = \"vit\"\nheads = 3\n", "target.heads"),
        ("[target]\nnetwork = \"mobilenet\"\nchannels = [8]\n", "target.expansions, target.blocks, target.strides"),
        ("[target]\nnetwork = \"mobilenet\"\nblocks = [1, 0, 1]\n", "target.blocks"),
        ("[target]\nnetwork = \"mobilenet\"\nstride = 17\n", "target.stride"),
        ("[target]\nnetwork = \"vit\"\npatch = 0\n", "target.patch"),
        ("[guide]\nnetwork = \"transformer\"\nwidth = 1024\n", "guide.heads"),
        ("[guide]\nnetwork = \"transformer\"\ndropout = 1.0\n", "guide.dropout"),
        ("seeds = []\n", "`seeds`"),
        ("seeds = [1, 1]\n", "`seeds`"),
        ("arms = [\"alone\", \"alone\"]\n", "`arms`"),
        ("[target]\nwidth = 9223372036854775807\n", "target.width"),
        ("[target]\ndropout = 1.0\n", "target.dropout"),
        ("[guide]\nlearning_rate = -1.0\n", "guide.learning_rate"),
        ("[arm.trained]\nweight = nan\n", "arm.trained.weight"),
        ("[arm.alone]\nweight = 1.0\n", "arm.alone.weight"),
        ("[arm.alone]\nfirst_steps = 10\n", "arm.alone.first_steps"),
        ("[arm.alone]\ndecay_steps = 10\n", "arm.alone.decay_steps"),
        ("[arm.alone]\nguide = \"trained\"\n", "arm.alone.guide"),
        ("arms = [\"mine\"]\n", "[arm.mine]"),
        ("arms = [\"mine\"]\n[arm.mine]\n", "arm.mine.guide"),
        ("arms = [\"mine\"]\n[arm.mine]\nguide = \"traned\"\n", "did you mean `trained`?"),
        ("[arm.mine]\nguide = \"none\"\n", "`arm.mine`: is not among"),
        ("arms = [\"alone\"]\n[arm.trained]\nweight = 2.0\n", "`arm.trained`: is not among"),
        ("arms = [\"guide\"]\n[arm.guide]\nguide = \"none\"\n", "`arm.guide`: cannot be"),
        ("arms = [\"untrained-guide\"]\n[arm.untrained-guide]\nguide = \"none\"\n", "`arm.untrained-guide`: cannot be"),
        ("arms = [\"a/b\"]\n[arm.\"a/b\"]\nguide = \"none\"\n", "`arm.a/b`: cannot be"),
        ("[arm.trained]\nfirst_steps = 10\ndecay_steps = 20\n", "arm.trained.decay_steps"),
        ("[arm.trained]\nfirst_steps = 300\n", "arm.trained.first_steps"),
        ("[arm.trained]\nfirst_steps = 0\n", "arm.trained.first_steps"),
        ("[target]\nnetwork = \"resnet\"\n[arm.alone]\ninit = \"identity\"\n", "arm.alone.init"),
        ("[target]\nbias = \"prior\"\n", "unknown value"),
        ("arms = [\"alone\", \"untrained\"]\n[guide]\nweights = \"x.safetensors\"\n", "guide.weights"),
        (
            "[data]\nset = \"parity\"\n[target]\nnetwork = \"rnn\"\ninit = \"zero_residual\"\n[guide]\nnetwork = \"rnn\"\n",
            "target.init",
        ),
        ("[training]\nclip_norm = -1.0\n", "training.clip_norm"),
        ("[training]\ndecay = -0.1\n", "training.decay"),
        ("[training]\ndecay_every = 0\n", "training.decay_every"),
        ("[training]\nlabel_smoothing = 2.0\n", "training.label_smoothing"),
        ("[training]\nbatch = 1\n", "training.batch"),
        ("[training]\nbatch = 3\n[guidance]\nmetric = \"cka_debiased\"\n", "training.batch"),
        ("[training]\nbatch = 2\n", "compares at least 3"),
        ("[training]\nbatch = 2\n[guidance]\nmetric = \"ridge\"\n", "training.batch"),
        ("[data]\ntest = 2\n[guidance]\nmetric = \"rbf_cka\"\n", "data.test"),
        ("[guidance]\nfirst_steps = 100\n[training]\nsteps = 100\n", "guidance.first_steps"),
        ("[guide]\nsteps = 0\n", "guide.steps"),
        ("[data]\nclasses = 5\n", "data.classes"),
        ("name = \".x\"\n", "`name`"),
        ("[data]\nset = \"text\"\n", "target.network"),
        ("[target]\nnetwork = \"rnn\"\n", "target.network"),
        ("[guide]\nnetwork = \"transformer\"\n", "guide.network"),
        ("[data]\nset = \"folder\"\nclasses = 0\n", "data.classes"),
        ("[data]\nskip_broken = true\n", "data.skip_broken"),
        ("[data]\nset = \"idx\"\nlengths = [1, 2]\n", "data.lengths"),
        (
            "[data]\nset = \"parity\"\nsymbols = 3\nlengths = [2, 5]\n[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"rnn\"\n",
            "data.symbols",
        ),
        ("[training]\ndecay = 0.5\n", "training.decay"),
        ("[training]\ndecay_every = 7\n", "training.decay_every"),
        ("[training]\nwarmup = 5\n", "training.warmup"),
        ("[training]\nmomentum = 0.5\n", "training.momentum"),
        ("[training]\ncrop_scale = [0.5, 1.0]\n", "training.crop_scale"),
        ("[guidance]\nlambda = 0.5\n", "guidance.lambda"),
        ("[guidance]\nbandwidth = 0.5\n", "guidance.bandwidth"),
        ("[data]\nset = \"copy_paste\"\nlengths = [9, 3]\n", "data.lengths"),
        ("[data]\nset = \"copy_paste\"\nsymbols = 1\n", "data.symbols"),
        ("[data]\nset = \"parity\"\n[training]\nflip = true\n", "training.shift"),
        ("[data]\nset = \"text\"\ncontext = 0\n", "data.context"),
        ("[data]\nsize = 20\n", "data.size"),
        ("[data]\nresize = 20\n", "data.resize"),
        ("[data]\nset = \"folder\"\nsize = 65\nresize = 64\n", "data.size"),
        ("[data]\nset = \"folder\"\nresize = 2000\n", "data.resize"),
        ("[data]\nset = \"parity\"\nstream = true\n", "data.stream"),
        ("[data]\nset = \"cifar\"\nsize = 32\n", "data.size"),
        ("[training]\ncrop = \"middle\"\n", "middle"),
        ("[training]\ncrop = \"random\"\n", "training.crop"),
        ("[data]\nset = \"folder\"\nsize = 64\nresize = 64\n[training]\ncrop = \"random\"\n", "training.crop"),
        ("[training]\ncrop_scale = [0.0, 1.0]\n", "training.crop_scale"),
        ("[training]\ncrop = \"resized\"\nbatches = \"fixed\"\n", "training.batches"),
        ("[data]\nset = \"parity\"\n[training]\ncrop = \"random\"\n", "training.shift"),
    ] {
        assert!(error(text).contains(key), "{text}: {}", error(text));
    }
}

#[test]
fn strides_and_first_steps_follow_what_is_given() {
    let parse = |text: &str| Config::parse(text, Path::new("x.toml")).unwrap();
    let strides = |text: &str| match parse(text).guide.network {
        NetworkConfig::Cnn(cnn) => cnn.strides,
        other => panic!("{other:?}"),
    };
    assert_eq!(strides("[guide]\nchannels = [3, 4]\n"), [1, 2]);
    assert_eq!(strides("[guide]\nchannels = [3, 4]\nstrides = [2, 1]\n"), [2, 1]);
    assert_eq!(parse("[training]\nsteps = 41\n").guidance.first_steps, Some(20));
    let kept = parse("[training]\nsteps = 41\n").to_toml();
    assert_eq!(parse(&kept).to_toml(), kept);
}

#[test]
fn splits_are_numbers_or_shares() {
    let parse = |text: &str| Config::parse(text, Path::new("x.toml")).unwrap();
    let data = |text: &str| {
        let config = parse(&format!("[data]\n{text}\n"));
        assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
        [config.data.train, config.data.validation, config.data.test]
    };
    let count = |count| Some(Amount::Count(count));
    assert_eq!(data(""), [count(2000), count(500), count(1000)]);
    assert_eq!(data("set = \"folder\""), [None; 3]);
    let share = |share| Some(Amount::Share(share));
    assert_eq!(data("set = \"idx\"\ntrain = 0.8\ntest = 1.0"), [share(0.8), count(500), share(1.0)]);
    for (text, key, what) in [
        ("train = 0.8", "data.train", "0.8 is a share, and of what is drawn"),
        ("set = \"cifar\"\ntrain = 1.5", "data.train", "1.5 is no share"),
        ("set = \"cifar\"\nvalidation = -0.5", "data.validation", "-0.5 is no share"),
        ("set = \"folder\"\ntest = 0.0", "data.test", "is 0"),
        ("set = \"folder\"\ntest = 2", "data.test", "compares at least 3"),
        ("train = -3", "data.train", "expected a whole number of 0 or more, or a share"),
        ("train = \"all\"", "data.train", "a share from 0.0 to 1.0"),
    ] {
        let message = error(&format!("[data]\n{text}\n"));
        assert!(message.contains(&format!("`{key}`")) && message.contains(what), "{message}");
    }
    let drawn = "[data]\nset = \"parity\"\ntest = 0.5\n[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"rnn\"\n";
    assert!(error(drawn).contains("`data.test`: 0.5 is a share"), "{}", error(drawn));
}

#[test]
fn lengths_are_steps_or_epochs() {
    let parse = |text: &str| Config::parse(text, Path::new("x.toml")).unwrap();
    let text = "[training]\nepochs = 3\neval_every_epochs = 1\n[guide]\nepochs = 2\n";
    let config = parse(text);
    assert_eq!(
        (config.training.epochs, config.guide.keys.epochs, config.guidance.first_steps),
        (Some(3), Some(2), None)
    );
    let again = parse(&config.to_toml());
    assert_eq!((again.training, again.guide), (config.training, config.guide), "no steps beside epochs");
    for (key, text) in [
        ("training.epochs", "[training]\nepochs = 3\nsteps = 9\n"),
        ("training.eval_every_epochs", "[training]\neval_every = 3\neval_every_epochs = 9\n"),
        ("guide.epochs", "[guide]\nepochs = 3\nsteps = 9\n"),
    ] {
        let message = error(text);
        assert!(
            message.contains(&format!("`{key}`: says the same as `"))
                && message.contains("steps`") | message.contains("eval_every`"),
            "{message}"
        );
    }
    assert!(error("[training]\nepochs = 0\n").contains("`training.epochs`: is 0"));
    let drawn = "[data]\nset = \"parity\"\n[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"rnn\"\n";
    for keys in ["[training]\nepochs = 1\n", "[training]\neval_every_epochs = 1\n"] {
        let message = error(&format!("{drawn}{keys}"));
        assert!(message.contains("have no epochs"), "{message}");
    }
    assert!(error(&format!("{drawn}epochs = 3\n")).contains("`guide.epochs`"));
}

#[test]
fn a_batch_is_at_most_all_that_is_drawn() {
    let batch = |text: &str| Config::parse(text, Path::new("x.toml")).unwrap().training.batch;
    assert_eq!((batch(""), batch("[data]\ntrain = 40\n")), (Some(128), Some(40)));
    assert_eq!(batch("[data]\nset = \"idx\"\n"), None, "the data decide");
}

#[test]
fn what_other_libraries_call_it_is_understood() {
    for (text, wanted) in [
        ("lr = 0.1\n", "did you mean `learning_rate` in the table `[training]`?"),
        ("[training]\nlr = 0.1\n", "`training.lr`: line 2: unknown key; did you mean `learning_rate`?"),
        ("[guide]\nlr = 0.1\n", "`guide.lr`: line 2: unknown key; did you mean `learning_rate`?"),
        ("epochs = 3\n", "did you mean `epochs` in the table `[training]`?"),
        ("[training]\nnum_epochs = 3\n", "did you mean `epochs`?"),
        ("[guide]\nmax_epochs = 3\n", "did you mean `epochs`?"),
        ("[training]\nbatch_size = 3\n", "did you mean `batch`?"),
        ("[data]\nbatch_size = 3\n", "did you mean `batch` in the table `[training]`?"),
        ("[training]\nbs = 3\n", "did you mean `batch`?"),
        ("[training]\nmax_steps = 3\n", "did you mean `steps`?"),
        ("[training]\niterations = 3\n", "did you mean `steps`?"),
        ("[training]\noptim = \"adam\"\n", "did you mean `optimizer`?"),
        ("[training]\nwd = 0.1\n", "did you mean `weight_decay`?"),
        ("[target]\nmomentum = 0.9\n", "did you mean `momentum` in the table `[training]`?"),
        ("dataset = \"cifar\"\n", "the table `[data]`"),
        ("[dataset]\nset = \"cifar\"\n", "the table `[data]`"),
        ("[data]\ndataset = \"cifar\"\n", "did you mean `set`?"),
        ("[data]\npath = \"x\"\n", "on the command line: --data PATH"),
        ("seed = 1\n", "did you mean `seeds`?"),
        ("[training]\nseed = 1\n", "did you mean `seeds`, at the top of the file"),
        ("[data]\nval = 0.1\n", "did you mean `validation`?"),
        ("model = \"fcn\"\n", "the table `[target]`"),
        ("[target]\nmodel = \"fcn\"\n", "did you mean `network`?"),
        ("[guide]\narch = \"fcn\"\n", "did you mean `network`?"),
        ("[arm.alone]\nlr = 0.1\n", "did you mean `learning_rate`?"),
    ] {
        assert!(error(text).contains(wanted), "{text}: {}", error(text));
    }
}

#[test]
fn a_key_is_named_with_its_table() {
    let list = "[guidance]\npairs = [\n  [\"conv1\", \"fc1\"],\n]\nweight = \"x\"\n";
    assert!(error(list).contains("`guidance.weight`: line 5: "), "{}", error(list));
    assert!(error("seeds = 3\n").starts_with("x.toml: `seeds`: line 1: "), "{}", error("seeds = 3\n"));
    let negative = error("[training]\nbatch = -1\n");
    assert!(
        negative.contains("`training.batch`") && negative.contains("expected a whole number of 0 or more"),
        "{negative}"
    );
    assert!(error("seeds = [\"sequence\"]\n").contains("sequence"));
}

#[test]
fn a_third_value_of_two_is_named() {
    for (text, key, third) in [
        ("[guidance]\npairs = [[\"conv1\", \"fc1\", \"zzz\"]]\n", "`guidance.pairs`", "`zzz`"),
        ("[training]\ncrop = \"resized\"\ncrop_scale = [0.1, 0.5, 0.9]\n", "`training.crop_scale`", "`0.9`"),
        ("[data]\nset = \"parity\"\nlengths = [2, 6, 9]\n", "`data.lengths`", "`9`"),
        ("[guidance]\npairs = [[\"conv1\"]]\n", "`guidance.pairs`", "1 of two values: `conv1`"),
    ] {
        let message = error(text);
        assert!(message.contains(key) && message.contains(third) && message.contains("line "), "{message}");
    }
}

/// Without an arm that is compared with a guide no measure asks for examples.
#[test]
fn small_batches_are_fine_where_nothing_is_compared() {
    let text = "arms = [\"alone\"]\n[data]\ntest = 1\n[training]\nbatch = 1\n";
    Config::parse(text, Path::new("x.toml")).unwrap();
    let error = Config::parse(&text.replace("alone", "untrained"), Path::new("x.toml")).unwrap_err().to_string();
    assert!(error.contains("linear CKA compares at least 3"), "{error}");
}
