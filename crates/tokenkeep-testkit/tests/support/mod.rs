pub(crate) mod broken;
