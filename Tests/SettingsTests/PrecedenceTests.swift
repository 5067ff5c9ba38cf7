import ArgumentParser
import Errors
import Foundation
import RPC
import Testing

@testable import Settings

@Suite struct PrecedenceTests {
    private let file = """
        endpoint: unix:///file.sock
        nodeID: of-file
        cluster: of-file
        store:
          location: s3://of-file
          region: of-file
        pools:
          - directory: /file
            size: 1GiB
        """

    @Test func anOptionWinsOverTheEnvironmentAndThatOverTheFile() throws {
        let environment = [
            "CSI_ENDPOINT": "unix:///environment.sock", "NODE_ID": "of-environment", "PERSSD_STORE_REGION": "of-env",
        ]
        let all = try settings(["--endpoint", "unix:///option.sock"], environment: environment, file: file)
        #expect(all.endpoint == .unix(path: "/option.sock"))
        #expect(all.nodeID == "of-environment")
        #expect(all.cluster == "of-file")
        #expect(all.store.region == "of-env")
        #expect(all.store.location == .s3(bucket: "of-file", prefix: ""))
        #expect(all.pools == [PoolSettings(directory: "/file", sizeBytes: 1 << 30)])
    }

    @Test func ourOwnVariableWinsOverTheCustomaryOne() throws {
        let environment = [
            "PERSSD_STORE_REGION": "ours", "AWS_REGION": "theirs", "AWS_DEFAULT_REGION": "the-default",
        ]
        #expect(
            try settings(["--store", "s3://abc"] + least.prefix(2), environment: environment).store.region == "ours")
        let customary = environment.filter { $0.key != "PERSSD_STORE_REGION" }
        #expect(
            try settings(["--store", "s3://abc"] + least.prefix(2), environment: customary).store.region == "theirs")
    }

    @Test func anEmptyVariableIsNotSet() throws {
        let all = try settings(least, environment: ["PERSSD_CLUSTER": "", "PERSSD_POOL": "", "PERSSD_CONFIG": ""])
        #expect(all.cluster == "default")
        #expect(all.pools.isEmpty)
    }

    @Test func poolsAreReplacedAndNotMerged() throws {
        let pools = try settings(
            ["--pool", "dir=/a,size=2GiB", "--pool", "dir=/b,size=3GiB,name=other"],
            environment: ["PERSSD_POOL": "dir=/c,size=1GiB"], file: file
        ).pools
        #expect(pools.map(\.directory) == ["/a", "/b"])
        #expect(
            try settings([], environment: ["PERSSD_POOL": "dir=/c,size=1GiB"], file: file).pools.map(\.directory) == [
                "/c"
            ])
    }

    @Test func aPoolNeedsNoMoreThanADirectory() throws {
        let pools = try settings(least + ["--pool", "directory=/a"]).pools
        #expect(pools == [PoolSettings(name: "default", directory: "/a", sizeBytes: nil)])
    }

    @Test func defaultsAreDocumentedOnes() throws {
        let all = try settings(least)
        #expect(all.cluster == "default")
        #expect(all.nodeID == ProcessInfo.processInfo.hostName)
        #expect(all.stateDirectory == "/var/lib/perssd")
        #expect(all.maximumVolumes == 0)
        #expect(all.parallelTransfers == 2)
        #expect(all.stageOutBandwidth == nil)
        #expect(try settings(least + ["--stage-out-bandwidth", "500Mi"]).stageOutBandwidth == 500 << 20)
        #expect(all.controlSocket == "/var/lib/perssd/control.sock")
        #expect(try settings(least + ["--state-directory", "/s"]).controlSocket == "/s/control.sock")
        #expect(all.flushOnTermination == .zero)
        #expect(try settings(least + ["--flush-on-termination", "110s"]).flushOnTermination == .seconds(110))
        #expect(all.terminationLog == "/dev/termination-log")
        #expect(all.collectionInterval == .seconds(86400))
        #expect(all.collectionGrace == .seconds(86400))
        #expect(try settings(least + ["--collection-interval", "never"]).collectionInterval == nil)
        #expect(try settings(least + ["--collection-interval", "90m"]).collectionInterval == .seconds(5400))
        #expect(all.metricsListen == nil)
        #expect(
            try settings(least + ["--metrics-listen", "[::]:9464"]).metricsListen == .tcp(host: "::", port: 9464))
        #expect(all.log == LogSettings(level: .info, format: .text))
        #expect(all.store == StoreSettings(location: .directory(path: "/shared")))
    }

    @Test func theConfigurationFileIsFoundByOptionAndByEnvironment() throws {
        let path = NSTemporaryDirectory() + "perssd-settings-\(UUID()).yaml"
        try file.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(try settings(["--config", path]).cluster == "of-file")
        #expect(try settings([], environment: ["PERSSD_CONFIG": path]).cluster == "of-file")
        let missing = refusal { try settings(["--config", path + ".missing"]) }
        #expect(missing.code == .notFound)
        #expect(missing.message.contains(path + ".missing"))
    }

    @Test func everySettingHasAnOptionAndCanStandInTheFile() throws {
        let example: [Setting: String] = [
            .endpoint: "unix:///a", .nodeID: "n", .cluster: "c", .stateDirectory: "/s", .targetDirectory: "/t",
            .maximumVolumes: "110", .parallelTransfers: "3", .stageOutBandwidth: "500Mi", .controlSocket: "/c.sock",
            .terminationLog: "/log", .flushOnTermination: "110s", .registrationSocket: "/r.sock",
            .agentListen: "10.0.0.1:0",
            .agentAddress: "node:9000",
            .collectionInterval: "1h", .collectionGrace: "2h", .storeLocation: "s3://abc", .storeEndpoint: "http://h:1",
            .storeRegion: "r", .storeAddressing: "path",
            .storeCertificateAuthorities: "/ca", .storeCredentialsDirectory: "/cd", .storeProfile: "p",
            .storeParallelRequests: "3", .events: "off", .kubernetesAPIServer: "https://api:6443",
            .kubernetesTokenFile: "/token",
            .kubernetesCertificateAuthorities: "/k8s-ca", .metricsListen: "10.0.0.1:9", .logLevel: "debug",
            .logFormat: "json",
        ]
        #expect(Set(example.keys) == Set(Setting.allCases))
        for setting in Setting.allCases {
            let value = try #require(example[setting])
            #expect(throws: Never.self) { try ServiceOptions.parse([setting.option, value]) }
            let parts = setting.keyPath.split(separator: ".")
            let text = parts.count == 1 ? "\(parts[0]): \(value)" : "\(parts[0]):\n  \(parts[1]): \(value)"
            let layer = try ConfigurationFile.parse(text, file: "f")
            #expect(layer.values[setting]?.text == value, "\(setting)")
            for variable in setting.variables {
                #expect(try SettingsLayer(environment: [variable: value]).values[setting]?.text == value)
            }
        }
    }

    @Test func unknownOptionsAreRefused() {
        #expect(throws: (any Error).self) { try ServiceOptions.parse(least + ["--storage", "x"]) }
        #expect(throws: (any Error).self) { try ServiceOptions.parse(least + ["extra"]) }
    }
}
