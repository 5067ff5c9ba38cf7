/// The version of PerSSD, as `--version` and GetPluginInfo tell it.
public let version = "0.1.0"
