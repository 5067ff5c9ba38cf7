/// All that PerSSD measures, declared once: docs/metrics.md is held against this by a test.
public enum Instruments {
    // MARK: Both plugins

    public static let rpcDuration = duration(
        "perssd_rpc_duration_seconds", "How long CSI calls took, by method and gRPC status code.",
        buckets: fast + slow, labels: ["method", "code"], of: all)

    public static let storeRequests = counter(
        "perssd_store_requests_total", "Requests to the object store, by operation and outcome.",
        labels: ["operation", "outcome"], of: all)
    public static let storeRequestDuration = duration(
        "perssd_store_request_duration_seconds", "How long requests to the object store took, with their retries.",
        buckets: fast, labels: ["operation"], of: all)
    public static let storeRetries = counter(
        "perssd_store_retries_total", "Attempts at requests to the object store that were not the first.", of: all)
    public static let storeSentBytes = counter(
        "perssd_store_sent_bytes_total", "Bytes of objects sent to the store.", of: all)
    public static let storeReceivedBytes = counter(
        "perssd_store_received_bytes_total", "Bytes of objects received from the store.", of: all)

    public static let buildInfo = gauge(
        "perssd_build_info", "Always 1; the label says which version runs.", labels: ["version"], of: all)

    // MARK: Stage-outs and restores

    public static let stageOutDuration = duration(
        "perssd_stage_out_duration_seconds",
        "How long stage-outs took from the cut to their end, by what they were for and how they ended.",
        buckets: long, labels: ["kind", "outcome"])
    public static let stageOutReadBytes = counter(
        "perssd_stage_out_read_bytes_total", "Bytes that stage-outs read from local copies and from the bucket.",
        labels: ["kind"])
    public static let stageOutChangedBytes = counter(
        "perssd_stage_out_changed_bytes_total", "Bytes of blocks and patches that stage-outs found changed.",
        labels: ["kind"])
    public static let stageOutSentBytes = counter(
        "perssd_stage_out_sent_bytes_total", "Bytes that stage-outs sent to the bucket, compressed.", labels: ["kind"])
    public static let stageOutBlocks = counter(
        "perssd_stage_out_blocks_total", "Blocks that stage-outs found changed.", labels: ["kind"])
    public static let checkpoints = counter(
        "perssd_checkpoints_total", "Checkpoints that came due, by how they ended.", labels: ["outcome"])
    public static let cutFreeze = duration(
        "perssd_cut_freeze_seconds", "How long writers stood still for a cut of a published volume.", buckets: fast)
    public static let branches = counter(
        "perssd_branches_total", "Branches that the node put into the bucket, as it had lost a lease.")
    public static let restoreDuration = duration(
        "perssd_restore_duration_seconds", "How long restores of local copies took, by how they ended.",
        buckets: long, labels: ["outcome"])
    public static let restoreReceivedBytes = counter(
        "perssd_restore_received_bytes_total", "Bytes that restores received from the bucket.")
    public static let restoreWrittenBytes = counter(
        "perssd_restore_written_bytes_total", "Bytes that restores wrote to local copies.")
    public static let restoreBlocks = counter(
        "perssd_restore_blocks_total", "Blocks that restores wrote to local copies.")
    public static let publishes = counter(
        "perssd_publishes_total", "Volumes brought to their first pod on the node, by what that took.",
        labels: ["source"])

    public static let evictions = counter(
        "perssd_evictions_total", "Clean local copies that were removed as room was needed.")

    // MARK: Leases

    public static let leasesRevoked = counter(
        "perssd_leases_revoked_total", "Leases that the controller took from nodes that were silent for too long.",
        of: [.controller])

    public static let losses = counter(
        "perssd_losses_total",
        "Times that uncommitted work was given up, so that a volume went back to its newest generation.", of: all)
    public static let openLeases = gauge(
        "perssd_open_leases", "Volumes whose lease the node has open: it may hold what no generation holds.")

    // MARK: Volumes and pools

    public static let localCopies = gauge(
        "perssd_local_copies", "Local copies of volumes on the node, by state.", labels: ["state"])
    public static let recoveryPointAge = gauge(
        "perssd_volume_recovery_point_age_seconds",
        "Age of what a volume that may be written would come back as, were this node lost now.", labels: ["volume"])
    public static let unsavedBytes = gauge(
        "perssd_volume_unsaved_bytes", "Bytes written to a volume's device since its newest generation was cut.",
        labels: ["volume"])
    public static let poolSizeBytes = gauge(
        "perssd_pool_size_bytes", "Bytes that a pool has for local copies.", labels: ["pool"])
    public static let poolFreeBytes = gauge(
        "perssd_pool_free_bytes", "Bytes of a pool that are promised to no local copy.", labels: ["pool"])
    public static let poolDataUsed = gauge(
        "perssd_pool_data_used_ratio", "How full the data of a thin pool are, from 0 to 1.", labels: ["pool"])
    public static let poolMetadataUsed = gauge(
        "perssd_pool_metadata_used_ratio", "How full the metadata of a thin pool are, from 0 to 1.", labels: ["pool"])
    public static let poolEvictableBytes = gauge(
        "perssd_pool_evictable_bytes", "Bytes of a pool that clean local copies make free where they are needed.",
        labels: ["pool"])

    public static let poolMissing = gauge(
        "perssd_pool_missing",
        "1 where the node lacks what a pool of its configuration is made of, and does without it, else 0.",
        labels: ["pool"])

    public static let definitions: [MetricDefinition] =
        [
            rpcDuration.definition, storeRequests.definition, storeRequestDuration.definition,
            storeRetries.definition, storeSentBytes.definition, storeReceivedBytes.definition, buildInfo.definition,
        ] + [
            stageOutDuration.definition, stageOutReadBytes.definition, stageOutChangedBytes.definition,
            stageOutSentBytes.definition, stageOutBlocks.definition, restoreBlocks.definition, checkpoints.definition,
            cutFreeze.definition, branches.definition,
            restoreDuration.definition, restoreReceivedBytes.definition, restoreWrittenBytes.definition,
            publishes.definition, evictions.definition, leasesRevoked.definition,
            losses.definition, openLeases.definition,
        ] + [
            localCopies.definition, recoveryPointAge.definition, unsavedBytes.definition, poolSizeBytes.definition,
            poolFreeBytes.definition, poolEvictableBytes.definition, poolDataUsed.definition,
            poolMetadataUsed.definition, poolMissing.definition,
        ]

    public static func definitions(of plugin: MetricDefinition.Plugin) -> [MetricDefinition] {
        definitions.filter { $0.plugins.contains(plugin) }
    }

    // MARK: How they are declared

    private static let all = Set(MetricDefinition.Plugin.allCases)
    private static let fast: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
    /// Beyond the two minutes that kubelet waits, nothing but a histogram's last bucket is needed.
    private static let slow: [Double] = [30, 60, 120]
    private static let long: [Double] = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400]

    private static func counter(
        _ name: String, _ help: String, labels: [String] = [], of plugins: Set<MetricDefinition.Plugin> = [.node]
    ) -> CounterInstrument {
        CounterInstrument(definition: MetricDefinition(name, .counter, help, labels: labels, of: plugins))
    }

    private static func duration(
        _ name: String, _ help: String, buckets: [Double], labels: [String] = [],
        of plugins: Set<MetricDefinition.Plugin> = [.node]
    ) -> DurationInstrument {
        DurationInstrument(
            definition: MetricDefinition(name, .histogram(buckets: buckets), help, labels: labels, of: plugins))
    }

    private static func gauge(
        _ name: String, _ help: String, labels: [String] = [], of plugins: Set<MetricDefinition.Plugin> = [.node]
    ) -> GaugeInstrument {
        GaugeInstrument(definition: MetricDefinition(name, .gauge, help, labels: labels, of: plugins))
    }
}
