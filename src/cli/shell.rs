//! `mustdrop completions` and `mustdrop man`: what shells and manuals want to know.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::Error;

/// Print a script that completes this program's arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop completions bash > ~/.local/share/bash-completion/completions/mustdrop\n  mustdrop completions fish > ~/.config/fish/completions/mustdrop.fish"
)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, mut program: Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        let name = program.get_name().to_owned();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        Ok(io::stdout().write_all(&script)?)
    }
}

/// Print this program's manual page, or write one for each command.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mustdrop man | man -l -\n  mustdrop man --output ~/.local/share/man/man1"
)]
pub(super) struct Man {
    /// A folder for a page of each command
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self, program: Command) -> anyhow::Result<()> {
        let Some(folder) = &self.output else {
            let mut page = Vec::new();
            clap_mangen::Man::new(program).render(&mut page)?;
            return Ok(io::stdout().write_all(&page)?);
        };
        fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(program, folder))
            .map_err(|error| Error::io(folder, error).into())
    }
}
