//! `tokenkeep completions`

use clap_complete::Shell;

use crate::{args, context::Context, error::Failure};

const HELP: &str = "\
Examples:
  tokenkeep completions bash > ~/.local/share/bash-completion/completions/tokenkeep
  tokenkeep completions zsh > \"${fpath[1]}/_tokenkeep\"
  tokenkeep completions fish > ~/.config/fish/completions/tokenkeep.fish";

/// Prints the completion script of a shell
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

pub(crate) fn run(Args { shell }: Args, context: &Context) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "tokenkeep", &mut script);
    context.printer.bytes(&script, true)
}
