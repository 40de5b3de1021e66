//! The question of what becomes of an experiment that was stopped, when it is started once more.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use trellis_data::Place;
use trellis_guidance::{Error, Result};
use trellis_lab::config::Config;
use trellis_lab::record::{Existing, Stopped, stopped};

use crate::print::escape_control;

/// Decision on an older folder, and the fact that the message about it needs once it was moved aside.
pub(crate) struct Choice {
    /// `None` to end here.
    pub(crate) existing: Option<Existing>,
    /// True if the folder could have been resumed.
    pub(crate) resumable: bool,
}

/// Asks what to do with a folder of just this experiment that stopped before its end. If nobody can answer, it is moved
/// aside.
///
/// # Errors
/// [`Error::Data`] if the terminal cannot be read.
pub(crate) fn choose(config: &Config, out: &Path, json: bool) -> Result<Choice> {
    let Some(stopped) = stopped(out, config) else {
        return Ok(Choice { existing: Some(Existing::MoveAside), resumable: false });
    };
    let (keys, mut screen) = (std::io::stdin(), std::io::stderr());
    if json || !keys.is_terminal() || !screen.is_terminal() {
        return Ok(Choice { existing: Some(Existing::MoveAside), resumable: true });
    }
    let folder = out.join(&config.name).display().to_string();
    let existing = ask(&question(&folder, &stopped), &mut keys.lock(), &mut screen);
    let existing = existing.map_err(|error| Error::io(Place::Stream("terminal"), error))?;
    Ok(Choice { existing, resumable: true })
}

fn question(folder: &str, stopped: &Stopped) -> String {
    let Stopped { run, finished, of, failure } = stopped;
    let place = run.as_ref().map_or(String::new(), |(run, step)| format!(" in {run}, after {step} steps"));
    let runs = format!("{finished} of {of} runs are finished");
    match failure {
        None => format!("{folder} was stopped{place}; {runs}."),
        Some(why) => format!("{folder} ended with an error{place}; {runs}. The error: {why}"),
    }
}

/// Asks until there is an answer; the end of the input is the answer to quit.
fn ask(question: &str, keys: &mut dyn BufRead, screen: &mut dyn Write) -> std::io::Result<Option<Existing>> {
    writeln!(screen, "{}", escape_control(question))?;
    loop {
        write!(screen, "[r]esume, [n]ew (the old folder is moved aside), [q]uit? ")?;
        screen.flush()?;
        let mut answer = String::new();
        if keys.read_line(&mut answer)? == 0 {
            writeln!(screen)?;
            return Ok(None);
        }
        match answer.trim().to_lowercase().as_str() {
            "r" | "resume" => return Ok(Some(Existing::Resume)),
            "n" | "new" => return Ok(Some(Existing::MoveAside)),
            "q" | "quit" => return Ok(None),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for() {
        let asked = |keys: &str| {
            let mut screen = Vec::new();
            let answer = ask("runs/x was stopped.", &mut keys.as_bytes(), &mut screen).expect("memory");
            let screen = String::from_utf8(screen).expect("text");
            (answer, screen.matches("[q]uit?").count())
        };
        assert_eq!(asked("r\n"), (Some(Existing::Resume), 1));
        assert_eq!(asked("\nwhat\nNew\n"), (Some(Existing::MoveAside), 3));
        assert_eq!(asked("q\n"), (None, 1));
        assert_eq!(asked(""), (None, 1));
    }

    #[test]
    fn the_question_says_where_it_stopped_and_why() {
        let mut stopped = Stopped { run: Some(("trained, seed 2".into(), 120)), finished: 3, of: 12, failure: None };
        let text = "runs/x was stopped in trained, seed 2, after 120 steps; 3 of 12 runs are finished.";
        assert_eq!(question("runs/x", &stopped), text);
        (stopped.run, stopped.failure) = (None, Some("no space left".into()));
        let text = "runs/x ended with an error; 3 of 12 runs are finished. The error: no space left";
        assert_eq!(question("runs/x", &stopped), text);
    }
}
