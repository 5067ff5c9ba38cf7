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
let xmlCoder = Target.Dependency.product(name: "XMLCoder", package: "XMLCoder")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
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
        .package(url: "https://github.com/CoreOffice/XMLCoder", from: "0.18.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C: one module per library, nothing but shims.
        .target(
            name: "CGRPC",
            cSettings: cSettings,
            linkerSettings: [
                .linkedLibrary("grpc++"), .linkedLibrary("grpc"), .linkedLibrary("gpr"),
                .linkedLibrary("absl_synchronization"),
            ]),
        .target(name: "CCurl", cSettings: cSettings, linkerSettings: [.linkedLibrary("curl")]),
        .target(name: "CCrypto", cSettings: cSettings, linkerSettings: [.linkedLibrary("crypto")]),
        .systemLibrary(
            name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(
            name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
        .target(name: "CCSI", dependencies: ["CProtobufC"]),
        .target(name: "CLinux", cSettings: cSettings),

        // Swift, with no knowledge of volumes.
        module("Errors"),
        module("Units"),
        module("Blocking", ["Errors"]),
        module("LinuxSystem", ["CLinux", "Errors", systemPackage]),
        module("Commands", ["Errors", subprocess, systemPackage]),
        module("Digests", ["CCrypto", "Errors"]),
        module("Zstandard", ["CZstd", "Errors"]),
        module("HTTP", ["CCurl", "Errors"]),
        module("RPC", ["CGRPC", "Errors"]),

        // What PerSSD is.
        module("CSI", ["CCSI", "CProtobufC", "RPC", "Errors"]),
        module(
            "Persistence",
            ["Errors", "Blocking", "LinuxSystem", "Digests", "Zstandard", "HTTP", logging, systemPackage, xmlCoder]),
        module(
            "LocalVolumes", ["Errors", "Blocking", "LinuxSystem", "Commands", logging, systemPackage]),
        module(
            "CSINode", ["CSI", "RPC", "Persistence", "LocalVolumes", "LinuxSystem", "Errors", "Blocking", logging]),
        module("CSIController", ["CSI", "RPC", "Persistence", "Errors", logging]),
        module("Settings", ["Persistence", "LocalVolumes", "RPC", "Errors", logging, argumentParser, lifecycle, yams]),

        // The processes.
        .executableTarget(
            name: "perssd-controller",
            dependencies: ["CSIController", "Settings", argumentParser, lifecycle], swiftSettings: swiftSettings),
        .executableTarget(
            name: "perssd-node",
            dependencies: ["CSINode", "Settings", argumentParser, lifecycle], swiftSettings: swiftSettings),
        .executableTarget(
            name: "perssd",
            dependencies: ["CSI", "RPC", "Persistence", "LocalVolumes", "Commands", "Settings", argumentParser],
            swiftSettings: swiftSettings),

        tests("ErrorsTests", ["Errors"]),
        // Temporary directories, loop devices and mounts of tests, which are cleared up after a kill, too.
        .target(
            name: "DeviceTestSupport", dependencies: ["LinuxSystem", "Errors", systemPackage],
            path: "Tests/DeviceTestSupport", swiftSettings: swiftSettings),
        tests("LinuxSystemTests", ["LinuxSystem", "DeviceTestSupport", "Errors", systemPackage]),
        tests("CommandsTests", ["Commands", "Errors"]),
        // What the kill tests kill.
        .target(name: "KillAtCall", path: "Tests/KillAtCall", cSettings: cSettings),
        .executableTarget(
            name: "local-volumes-crash-helper", dependencies: ["LocalVolumes", "KillAtCall", logging, systemPackage],
            path: "Tests/LocalVolumesCrashHelper", swiftSettings: swiftSettings),
        tests(
            "LocalVolumesTests",
            [
                "LocalVolumes", "LinuxSystem", "Commands", "DeviceTestSupport", "local-volumes-crash-helper", "Errors",
                logging, systemPackage,
            ]),
    ],
    cxxLanguageStandard: .cxx17
)
