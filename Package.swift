// swift-tools-version: 6.2
import PackageDescription

// Modules from the ground up; each imports only what stands above it. See docs/architecture.md.

let swiftSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
]
let cSettings: [CSetting] = [.treatAllWarnings(as: .error)]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let coreMetrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let flyingFox = Target.Dependency.product(name: "FlyingFox", package: "FlyingFox")
let flyingSocks = Target.Dependency.product(name: "FlyingSocks", package: "FlyingFox")
let xmlCoder = Target.Dependency.product(name: "XMLCoder", package: "XMLCoder")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: swiftSettings)
}

let package = Package(
    name: "perssd",
    products: [
        .executable(name: "perssd", targets: ["perssd"]),
        .executable(name: "perssd-controller", targets: ["perssd-controller"]),
        .executable(name: "perssd-node", targets: ["perssd-node"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/swhitty/FlyingFox", from: "0.27.1"),
        .package(url: "https://github.com/CoreOffice/XMLCoder", from: "0.18.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C: one module per library, nothing but shims.
        .target(
            name: "CGRPC",
            cxxSettings: [.treatAllWarnings(as: .error)],
            linkerSettings: [
                .linkedLibrary("grpc++"), .linkedLibrary("grpc"), .linkedLibrary("gpr"),
                .linkedLibrary("absl_synchronization"), .linkedLibrary("crypto"),
            ]),
        .target(name: "CCurl", cSettings: cSettings, linkerSettings: [.linkedLibrary("curl")]),
        .target(name: "CCrypto", cSettings: cSettings, linkerSettings: [.linkedLibrary("crypto")]),
        .systemLibrary(
            name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(
            name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
        .target(name: "CCSI", dependencies: ["CProtobufC"]),
        .target(
            name: "CExt2FS", cSettings: cSettings,
            linkerSettings: [.linkedLibrary("ext2fs"), .linkedLibrary("com_err")]),
        .target(name: "CLinux", cSettings: cSettings),

        // Swift, with no knowledge of volumes.
        module("Errors"),
        module("Units"),
        module("Blocking", ["CLinux", "Errors"]),
        module("LinuxSystem", ["CLinux", "Errors", systemPackage]),
        module("Commands", ["Errors", subprocess, systemPackage]),
        module("Digests", ["CCrypto", "Errors"]),
        module("Identities", ["CCrypto", "Errors"]),
        module("Zstandard", ["CZstd", "Errors"]),
        module("HTTP", ["CCurl", "Errors", "Blocking"]),
        module("RPC", ["CGRPC", "Errors", "Blocking"]),
        module("Ext4", ["CExt2FS", "Errors"]),
        module("Metering", [coreMetrics]),
        module("Monitoring", ["CLinux", "Errors", flyingFox, flyingSocks, logging]),

        // What PerSSD is.
        module("CSI", ["CCSI", "CProtobufC", "RPC", "Errors"]),
        module(
            "Persistence",
            [
                "CLinux", "Errors", "Units", "Blocking", "LinuxSystem", "Digests", "Zstandard", "HTTP", logging,
                systemPackage, xmlCoder,
            ]),
        // What the plugins tell those who use volumes, and how Kubernetes shows it to them.
        module("VolumeEvents", ["Persistence", "Units"]),
        module("KubernetesEvents", ["VolumeEvents", "HTTP", "Metering", "Blocking", "Units", "Errors", logging]),
        module(
            "LocalVolumes", ["Errors", "Blocking", "LinuxSystem", "Commands", logging, systemPackage]),
        // How the controller reaches the nodes.
        module("Agents", ["CSI", "RPC", "Persistence", "Identities", "Units", "Errors", logging]),
        // How programs on a node speak to its plugin.
        module("NodeControl", ["RPC", "Units", "Errors", logging]),
        // What the specification says of requests, whichever plugin gets them.
        module("CSIRules", ["CSI", "Errors"]),
        module(
            "CSINode",
            [
                "NodeControl", "CSI", "CSIRules", "RPC", "Persistence", "VolumeEvents", "LocalVolumes", "LinuxSystem",
                "Metering", "Units", "Errors", "Blocking", logging,
            ]),
        module(
            "CSIController",
            [
                "Agents", "CSI", "CSIRules", "RPC", "Persistence", "VolumeEvents", "Metering", "Units", "Errors",
                logging,
            ]),
        module("Settings", ["Persistence", "RPC", "Metering", "Units", "Errors", logging, argumentParser, yams]),

        // The processes.
        module(
            "Processes",
            [
                "CSI", "RPC", "Persistence", "VolumeEvents", "KubernetesEvents", "Settings", "Metering", "Monitoring",
                "Units",
                "Errors", argumentParser, lifecycle, unixSignals, logging,
            ]),
        .executableTarget(
            name: "perssd-controller",
            dependencies: [
                "Agents", "CSIController", "Persistence", "RPC", "Processes", "Settings", "Errors", argumentParser,
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "perssd-node",
            dependencies: [
                "Agents", "NodeControl", "CSINode", "LocalVolumes", "Persistence", "RPC", "Processes", "Settings",
                "Errors",
                "LinuxSystem",
                "Blocking", "Units", argumentParser, lifecycle, logging, systemPackage,
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "perssd",
            dependencies: [
                "NodeControl", "CSI", "RPC", "Persistence", "Ext4", "LinuxSystem", "CLinux", "Commands", "Digests",
                "Blocking",
                "Units", "Errors", "Settings", "Processes", argumentParser, unixSignals, systemPackage,
            ],
            swiftSettings: swiftSettings),

        // What make bench measures; see docs/benchmarks.md.
        .executableTarget(
            name: "perssd-bench",
            dependencies: [
                "Persistence", "LocalVolumes", "Blocking", "Errors", argumentParser, logging, systemPackage,
            ],
            swiftSettings: swiftSettings),

        // What tests share, and the processes that they start and kill.
        .target(
            name: "TestSupport", dependencies: ["Blocking", "Errors"], path: "Tests/TestSupport",
            swiftSettings: swiftSettings),
        .target(
            name: "CatalogTestSupport", dependencies: ["Persistence", "Digests", "Errors"],
            path: "Tests/CatalogTestSupport", swiftSettings: swiftSettings),
        .target(
            name: "DeviceTestSupport", dependencies: ["LinuxSystem", "Errors", systemPackage],
            path: "Tests/DeviceTestSupport", swiftSettings: swiftSettings),
        .target(name: "KillTestSupport", path: "Tests/KillTestSupport", swiftSettings: swiftSettings),
        .executableTarget(
            name: "store-racer", dependencies: ["Persistence", "Errors"], path: "Tests/StoreRacer",
            swiftSettings: swiftSettings),
        .target(name: "KillAtCall", path: "Tests/KillAtCall", cSettings: cSettings),
        .executableTarget(
            name: "local-volumes-crash-helper", dependencies: ["LocalVolumes", "KillAtCall", logging, systemPackage],
            path: "Tests/LocalVolumesCrashHelper", swiftSettings: swiftSettings),

        // Runs in virtual machines, too, where there is device-mapper.
        .executableTarget(
            name: "pool-conformance",
            dependencies: [
                "LocalVolumes", "LinuxSystem", "Commands", "KillTestSupport", "Errors", argumentParser, logging,
                systemPackage,
            ],
            path: "Tests/PoolConformance", swiftSettings: swiftSettings),

        tests("TestSupportTests", ["TestSupport"]),
        tests("ErrorsTests", ["Errors"]),
        .target(
            name: "TransferTestSupport", dependencies: ["Persistence", "Digests", "Errors"],
            path: "Tests/TransferTestSupport", swiftSettings: swiftSettings),
        .executableTarget(
            name: "transfer-probe", dependencies: ["Persistence", "TransferTestSupport", "Errors", systemPackage],
            path: "Tests/TransferProbe", swiftSettings: swiftSettings),
        tests(
            "FormatsTests", ["Persistence", "TransferTestSupport", "TestSupport", "Digests", "Errors"],
            exclude: ["Fixtures", "Python"]),
        tests(
            "TransferTests",
            [
                "Persistence", "LinuxSystem", "TransferTestSupport", "TestSupport", "Digests", "Errors", systemPackage,
                "transfer-probe",
            ]),
        tests("LinuxSystemTests", ["LinuxSystem", "DeviceTestSupport", "Errors", systemPackage]),
        tests("CommandsTests", ["Commands", "Errors"]),
        tests("HTTPTests", ["HTTP", "Errors", "TestSupport"], exclude: ["Scripts"]),
        tests("RPCTests", ["RPC", "Identities", "Errors", "Blocking"], exclude: ["Python"]),
        tests("CSITests", ["CSI", "CCSI", "RPC", "Errors"], exclude: ["Resources", "Python"]),
        tests("StoreTests", ["Persistence", "Blocking", "Errors", "TestSupport", "store-racer"]),
        tests("S3Tests", ["Persistence", "HTTP", "Digests", "Errors", "TestSupport"], exclude: ["Scripts"]),
        tests("CatalogTests", ["Persistence", "CatalogTestSupport", "Digests", "Errors"]),
        tests(
            "CollectionTests",
            ["Persistence", "CatalogTestSupport", "TransferTestSupport", "Digests", "Zstandard", "Errors"]),
        tests(
            "LocalVolumesTests",
            [
                "LocalVolumes", "LinuxSystem", "Commands", "DeviceTestSupport", "KillTestSupport",
                "local-volumes-crash-helper", "pool-conformance", "Errors", logging, systemPackage,
            ]),
        tests(
            "CSIControllerTests",
            [
                "CSIController", "Agents", "CSI", "RPC", "Persistence", "VolumeEvents", "CatalogTestSupport",
                "TransferTestSupport",
                "TestSupport", "Digests", "Errors", logging,
            ]),
        tests(
            "AgentsTests",
            ["Agents", "RPC", "Identities", "Persistence", "CatalogTestSupport", "Errors", logging]),
        tests("NodeControlTests", ["NodeControl", "RPC", "Errors", "TestSupport", logging]),
        tests(
            "CSINodeTests",
            [
                "NodeControl", "CSINode", "CSI", "CSIRules", "RPC", "Persistence", "LocalVolumes", "LinuxSystem",
                "VolumeEvents", "Errors",
                "TestSupport", "DeviceTestSupport", logging, systemPackage,
            ]),
        tests(
            "CommandLineTests",
            [
                "perssd", "NodeControl", "Processes", "CSI", "RPC", "Persistence", "Settings", "Errors", "TestSupport",
                argumentParser,
            ]),
        tests("VolumeEventsTests", ["VolumeEvents", "Persistence", "Digests"]),
        tests(
            "KubernetesEventsTests",
            ["KubernetesEvents", "VolumeEvents", "Persistence", "HTTP", "Errors", "TestSupport", logging]),
        tests("MeteringTests", ["Metering", coreMetrics]),
        tests("MonitoringTests", ["Monitoring", "Errors", "TestSupport", logging]),
        tests("SettingsTests", ["Settings", "Persistence", "RPC", "Errors", argumentParser, logging]),
    ],
    cxxLanguageStandard: .cxx17
)
