import Errors
import Persistence
import Testing

@testable import Settings

/// Every wrong value is refused with its place, what is wrong, and what to give.
@Suite struct RefusalTests {
    @Test(arguments: [
        ("bogus: 1", "test.yaml:1: unknown key bogus", "cluster"),
        ("cluster: a\nstore:\n  regoin: x", "test.yaml:3: unknown key store.regoin", "region"),
        (
            "pools:\n  - directory: /a\n    size: 1GiB\n    colour: red", "test.yaml:4: unknown key pools[0].colour",
            "size"
        ),
        ("log:\n  level: [a]", "test.yaml:2: log.level has to be one value", "docs/parameters.md"),
        ("store: s3://bucket", "test.yaml:1: store has to be keys with values", "docs/parameters.md"),
        ("pools: /a", "test.yaml:1: pools has to be a list", "- "),
        ("- a", "test.yaml:1: the whole file has to be keys with values", "docs/parameters.md"),
        ("a: b: c", "test.yaml is not valid YAML", "docs/parameters.md"),
        ("cluster: a\ncluster: b", "test.yaml is not valid YAML", "docs/parameters.md"),
        ("pools:\n  - size: 1GiB", "test.yaml:2: pools[0]: the directory is missing", "directory="),
        (
            "pools:\n  - volumeGroup: g\n    drives:\n      modle: x", "test.yaml:4: unknown key pools[0].drives.modle",
            "model"
        ),
        (
            "pools:\n  - volumeGroup: g\n    drives: {rotational: maybe}",
            "test.yaml:3: pools[0].drives.rotational: 'maybe' is neither true nor false", "volumeGroup="
        ),
        ("pools:\n  - volumeGroup: g\n    drives: {path: [/dev/a, nvme0]}", "'nvme0' is no path", "volumeGroup="),
    ])
    func ofTheFile(text: String, message: String, remedy: String) {
        let error = refusal { try ConfigurationFile.parse(text, file: "test.yaml") }
        #expect(error.code == .invalidArgument)
        #expect(error.message.contains(message), "\(error)")
        #expect(error.remedy?.contains(remedy) == true, "\(error)")
    }

    @Test(arguments: ["", "# nothing\n", "---\n", "store:\n", "pools: []"])
    func aFileThatSaysNothingIsFine(text: String) throws {
        #expect(try ConfigurationFile.parse(text, file: "f") == SettingsLayer())
    }

    @Test(arguments: [
        ("100GiB", "'100GiB' is not of the form key=value"),
        ("size=1GiB", "the directory is missing"),
        ("dir=a,size=1GiB", "'a' is not an absolute path"),
        ("dir=/a,size=lots", "'lots' is no size"),
        ("dir=/a,size=0", "'0' is no size"),
        ("dir=/a,size=1GiB,size=2GiB", "'size' is given twice"),
        ("dir=/a,directory=/b,size=1GiB", "'directory' is given twice"),
        ("dir=/a,size=1GiB,nmae=x", "'nmae' is no key of a pool"),
        ("dir=/a,size=1GiB,name=a/b", "'a/b' is no pool name"),
        ("dir=/a,size=1GiB,name=", "'' is no pool name"),
        ("dir=/a,size=1GiB,", "'' is not of the form key=value"),
    ])
    func ofPools(text: String, message: String) {
        let error = refusal { try settings(least + ["--pool", text]) }
        #expect(error.code == .invalidArgument)
        #expect(error.message == "option --pool: \(message)" || error.message.contains(message), "\(error)")
        #expect(error.message.hasPrefix("option --pool: "))
        #expect(error.remedy?.contains("directory=/absolute/path,size=100GiB") == true)
    }

    @Test func ofTwoPoolsInOnePlace() {
        let sameName = refusal { try settings(least + ["--pool", "dir=/a,size=1GiB", "--pool", "dir=/b,size=1GiB"]) }
        #expect(sameName.message.contains("two pools have the name 'default'"))
        let sameDirectory = refusal {
            try settings(least + ["--pool", "dir=/a,size=1GiB", "--pool", "dir=/a,size=1GiB,name=b"])
        }
        #expect(sameDirectory.message.contains("share /a"))
    }

    @Test(arguments: [
        ("vg=g,dir=/a", "directory does not go with a volume group"),
        ("vg=g,size=1GiB", "size does not go with a volume group"),
        ("dir=/a,layout=linear", "layout goes with a volume group alone"),
        ("dir=/a,drives=all", "drives goes with a volume group alone"),
        ("vg=g,layout=raid5", "'raid5' is no layout: linear, striped, raid1"),
        ("vg=g,stripes=2", "stripes go with the layout striped alone"),
        ("vg=g,layout=striped,stripes=1", "'1' is no number of stripes"),
        ("vg=g,chunkSize=100KiB", "no power of two"), ("vg=g,chunkSize=32KiB", "no power of two"),
        ("vg=g,create=yes", "'yes' is neither true nor false"),
        ("vg=g,overcommit=0.5", "'0.5' is no overcommit factor"), ("vg=g,overcommit=x", "'x' is no overcommit factor"),
        ("vg=g,drives=nvme0n1", "'nvme0n1' is no path below /dev"), ("vg=g,drives=", "no drive is named"),
        ("vg=,drives=all", "'' is no volume group"), ("vg=g,volumeGroup=h", "'volumeGroup' is given twice"),
    ])
    func ofPoolsOfLogicalVolumes(text: String, message: String) {
        let error = refusal { try settings(least + ["--pool", text]) }
        #expect(error.code == .invalidArgument)
        #expect(error.message.hasPrefix("option --pool: ") && error.message.contains(message), "\(error)")
    }

    @Test func ofTwoPoolsThatWantTheSame() {
        let group = refusal { try settings(least + ["--pool", "vg=g", "--pool", "vg=g,name=b"]) }
        #expect(group.message.contains("share the volume group 'g'"))
        let drive = refusal {
            try settings(
                least + ["--pool", "vg=g,drives=/dev/a:/dev/b", "--pool", "vg=h,name=b,drives=/dev/c:/dev/b"])
        }
        #expect(drive.message.contains("share the drive /dev/b"))
    }

    @Test(arguments: [
        ("bucket/prefix", "begins with neither s3:// nor file://"),
        ("S3://bucket", "begins with neither"),
        ("s3://", "the bucket is missing"),
        ("s3:///prefix", "the bucket is missing"),
        ("s3://key:secret@bucket", "'@' can be part of no bucket"),
        ("s3://bucket?region=x", "'?' can be part of no bucket"),
        ("s3://ab", "cannot be the name of a bucket"),
        ("s3://bucket//prefix", "cannot be the prefix"),
        ("file://relative/path", "three slashes"),
    ])
    func ofStores(text: String, message: String) {
        let error = refusal { try settings(["--endpoint", "/a", "--store", text]) }
        #expect(error.code == .invalidArgument)
        #expect("\(error)".contains(message), "\(error)")
        #expect("\(error)".contains("option --store"))
    }

    @Test(arguments: [
        (["--node-id", "a/b"], "option --node-id: 'a/b' is no name"),
        (["--node-id", ""], "option --node-id: '' is no name"),
        (["--cluster", ".."], "option --cluster: '..' is no name"),
        (["--cluster", String(repeating: "a", count: 254)], "is no name"),
        (["--log-level", "loud"], "option --log-level: 'loud' is not known"),
        (["--log-format", "xml"], "option --log-format: 'xml' is not known"),
        (["--state-directory", "here"], "option --state-directory: 'here' is not an absolute path"),
        (["--store-addressing", "both"], "option --store-addressing: 'both' is not known"),
        (["--store-parallel-requests", "0"], "option --store-parallel-requests: '0' is not what is needed"),
        (["--store-parallel-requests", "many"], "option --store-parallel-requests: 'many' is not what is needed"),
        (["--maximum-volumes=-1"], "option --maximum-volumes: '-1' is not what is needed"),
        (["--maximum-volumes", "4097"], "option --maximum-volumes: '4097' is not what is needed"),
        (["--maximum-volumes", "1.5"], "option --maximum-volumes: '1.5' is not what is needed"),
        (["--parallel-transfers", "0"], "option --parallel-transfers: '0' is not what is needed"),
        (["--parallel-transfers", "17"], "option --parallel-transfers: '17' is not what is needed"),
        (["--stage-out-bandwidth", "1Ki"], "option --stage-out-bandwidth: '1Ki' is not what is needed"),
        (["--stage-out-bandwidth", "fast"], "option --stage-out-bandwidth: 'fast' is not what is needed"),
        (["--control-socket", "control.sock"], "'control.sock' is not an absolute path"),
        (["--flush-on-termination", "2h"], "option --flush-on-termination: '2h' is not what is needed"),
        (["--flush-on-termination", "120"], "option --flush-on-termination: '120' is not what is needed"),
        (["--termination-log", "log"], "'log' is not an absolute path"),
        (["--registration-socket", "reg.sock"], "'reg.sock' is not an absolute path"),
        (["--store-certificate-authorities", "ca.pem"], "'ca.pem' is not an absolute path"),
        (
            ["--store-credentials-directory", "/a", "--store-profile", "b"],
            "option --store-profile: the credentials are to come from a directory already"
        ),
        (["--endpoint", "http://a"], "option --endpoint cannot be used"),
        (["--agent-listen", "/run/agent.sock"], "'/run/agent.sock' is no TCP address"),
        (["--collection-interval", "30s"], "option --collection-interval: '30s' is not what is needed"),
        (["--collection-grace", "never"], "option --collection-grace: 'never' is not what is needed"),
        (["--agent-address", "node"], "option --agent-address cannot be used"),
        (["--events", "on"], "option --events: 'on' is not known"),
        (
            ["--kubernetes-api-server", "http://api:80"],
            "option --kubernetes-api-server: 'http://api:80' is no address"
        ),
        (["--kubernetes-api-server", "https://"], "is no address of an API server"),
        (["--kubernetes-api-server", "https://api/path"], "is no address of an API server"),
        (["--kubernetes-api-server", "https://user@api"], "is no address of an API server"),
        (["--kubernetes-token-file", "token"], "option --kubernetes-token-file: 'token' is not an absolute path"),
        (["--kubernetes-certificate-authorities", "ca"], "'ca' is not an absolute path"),
        (["--metrics-listen", "9464"], "option --metrics-listen cannot be used"),
        (["--metrics-listen", ":9464"], "0.0.0.0 or [::] stands for all addresses"),
        (["--metrics-listen", "unix:///run/metrics.sock"], "is no TCP address"),
    ])
    func ofOtherOptions(arguments: [String], message: String) {
        let rest = arguments.contains("--endpoint") ? Array(least.suffix(2)) : least
        let error = refusal { try settings(rest + arguments) }
        #expect(error.code == .invalidArgument)
        #expect("\(error)".contains(message), "\(error)")
    }

    @Test func ofWhatIsMissing() {
        #expect(refusal { try settings(["--store", "file:///a"]) }.message == "no endpoint is given")
        #expect(refusal { try settings(["--endpoint", "/a"]) }.message == "no store is given")
    }

    @Test func theEndpointOfS3IsChecked() {
        let error = refusal {
            try settings(["--endpoint", "/a", "--store", "s3://bucket", "--store-endpoint", "host:1"])
        }
        #expect("\(error)".contains("'host:1' cannot be the endpoint of a store"), "\(error)")
    }
}

@Suite struct StoreLocationTests {
    @Test(arguments: [
        ("s3://bucket", StoreLocation.s3(bucket: "bucket", prefix: ""), "s3://bucket"),
        ("s3://bucket/", .s3(bucket: "bucket", prefix: ""), "s3://bucket"),
        ("s3://bucket/a/b", .s3(bucket: "bucket", prefix: "a/b"), "s3://bucket/a/b"),
        ("file:///a/b/", .directory(path: "/a/b"), "file:///a/b"),
        ("file:///with%20space", .directory(path: "/with space"), "file:///with%20space"),
    ])
    func isReadAndShown(text: String, location: StoreLocation, shown: String) throws {
        let read = try StoreLocation(parsing: Given(text, from: "here"))
        #expect(read == location)
        #expect(read.description == shown)
    }

    @Test func s3SettingsReachTheClient() throws {
        let store = try settings([
            "--endpoint", "/a", "--store", "s3://bucket/pre", "--store-endpoint", "http://127.0.0.1:9",
            "--store-region",
            "eu-x-1", "--store-addressing", "path", "--store-parallel-requests", "3",
            "--store-certificate-authorities", "/ca.pem", "--store-credentials-directory", "/creds",
        ]).store
        let configuration = try store.s3Configuration(bucket: "bucket", prefix: "pre")
        #expect(configuration.region == "eu-x-1")
        #expect("\(configuration.endpoint)" == "http://127.0.0.1:9")
        #expect(configuration.addressing == .path)
        #expect(configuration.maximumRequests == 3)
        #expect(configuration.certificateAuthorities == "/ca.pem")
        guard case .directory("/creds") = configuration.credentials else {
            Issue.record("\(configuration.credentials)")
            return
        }
    }
}
