use tokenkeep_servers::Trials;
pub(crate) fn add(trials: Trials) -> Trials {
    trials
}
pub(crate) fn child() -> Option<std::process::ExitCode> {
    None
}
