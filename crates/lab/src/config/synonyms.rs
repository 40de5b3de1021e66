//! Keys by the names that other libraries give them.

/// Names of keys elsewhere, with table and key here.
const KEYS: [(&[&str], &str, &str); 29] = [
    (&["seed", "random_seed", "manual_seed"], "", "seeds"),
    (&["dataset", "data_set", "dataset_name"], "data", "set"),
    (&["val", "valid", "val_size", "validation_size", "val_split", "validation_split", "n_val"], "data", "validation"),
    (&["train_size", "train_split", "n_train"], "data", "train"),
    (&["test_size", "test_split", "n_test"], "data", "test"),
    (&["image_size", "img_size", "imgsz", "input_size", "resolution"], "data", "size"),
    (&["num_classes", "n_classes", "nb_classes"], "data", "classes"),
    (&["block_size", "seq_len", "sequence_length", "context_length", "n_ctx"], "data", "context"),
    (&["model", "arch", "architecture", "kind", "type"], "target", "network"),
    (&["alpha", "guidance_weight", "align_weight"], "guidance", "weight"),
    (&["lr", "learning_rate", "base_lr", "rate"], "training", "learning_rate"),
    (&["epochs", "num_epochs", "n_epochs", "max_epochs", "nb_epochs"], "training", "epochs"),
    (
        &["steps", "max_steps", "num_steps", "total_steps", "iterations", "iters", "max_iters", "n_iter"],
        "training",
        "steps",
    ),
    (&["batch", "batch_size", "bs", "minibatch", "mini_batch_size", "train_batch_size"], "training", "batch"),
    (&["optim", "opt", "optimizer", "optimizer"], "training", "optimizer"),
    (&["wd", "weight_decay", "l2"], "training", "weight_decay"),
    (&["momentum", "mu"], "training", "momentum"),
    (&["scheduler", "lr_scheduler", "lr_schedule", "schedule"], "training", "schedule"),
    (&["warmup", "warmup_steps", "num_warmup_steps"], "training", "warmup"),
    (&["step_size", "lr_step_size", "decay_every"], "training", "decay_every"),
    (&["gamma", "lr_gamma", "lr_decay"], "training", "decay"),
    (
        &["clip", "grad_clip", "max_grad_norm", "gradient_clip_val", "clip_grad_norm", "clip_norm"],
        "training",
        "clip_norm",
    ),
    (&["label_smoothing", "smoothing"], "training", "label_smoothing"),
    (&["amp", "fp16", "mixed_precision", "precision"], "training", "precision"),
    (&["eval_interval", "eval_steps", "val_check_interval", "eval_every"], "training", "eval_every"),
    (&["hflip", "horizontal_flip", "random_flip", "flip"], "training", "flip"),
    (&["dropout", "drop", "drop_rate", "p_dropout"], "target", "dropout"),
    (&["normalize", "normalization", "image_mean", "input_mean", "means"], "guide", "mean"),
    (&["image_std", "input_std", "stds", "deviation"], "guide", "std"),
];

/// Names that are no keys here, and what to do in their place.
const NO_KEYS: [(&[&str], &str); 3] = [
    (
        &["path", "data_path", "data_dir", "data_root", "root", "folder", "dir", "file"],
        "data are given on the command line: --data PATH",
    ),
    (&["device", "gpu", "cuda", "accelerator"], "the adapter is given on the command line: --adapter NAME"),
    (&["workers", "num_workers", "n_workers", "threads"], "there is no such key: all CPU threads read data"),
];

/// Suggestion for the key `unknown` of `table` (empty for the top of the file), of which `known` are the keys.
pub(super) fn suggestion(table: &str, unknown: &str, known: &[&str]) -> Option<String> {
    let lower = unknown.to_lowercase().replace('-', "_");
    let called = |names: &[&str]| names.contains(&lower.as_str());
    if let Some((_, text)) = NO_KEYS.iter().find(|(names, _)| called(names)) {
        return Some((*text).to_string());
    }
    // A table that is called otherwise.
    if table.is_empty() && ["dataset", "model", "optim", "optimizer", "train"].contains(&lower.as_str()) {
        let tables = match lower.as_str() {
            "dataset" => "did you mean the table `[data]`, or `set` in it?",
            "model" => "did you mean the table `[target]`, or `network` in it?",
            "train" => "did you mean the table `[training]`, or `train` in `[data]`?",
            _ => "did you mean `optimizer` in the table `[training]`?",
        };
        return Some(tables.to_string());
    }
    // The same key in the table at hand comes first: a guide has a rate of its own.
    let mut meanings = KEYS.iter().filter(|(names, ..)| called(names));
    let (_, home, key) = meanings.clone().find(|(_, _, key)| known.contains(key)).or_else(|| meanings.next())?;
    Some(match (known.contains(key), *home) {
        (true, _) => format!("did you mean `{key}`?"),
        (false, "") => format!("did you mean `{key}`, at the top of the file, before the first table?"),
        (false, home) => format!("did you mean `{key}` in the table `[{home}]`?"),
    })
}
