//! `tokenkeep doctor`
use crate::{context::Context, error::Failure};
/// Checks
#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) async fn run(Args {}: Args, _context: &Context) -> Result<(), Failure> {
    Ok(())
}
