pub(crate) mod broken;
pub(crate) mod claiming;
