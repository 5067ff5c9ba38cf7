import Foundation

/// Ceph's RADOS Gateway over one monitor and one OSD that keeps all in memory (Debian: radosgw ceph-mon ceph-osd).
///
/// It honours `If-Match` only with a bare tag, and says 412 to a quoted one.
public final class RadosGateway: S3Server {
    public let name = "RADOS Gateway"
    public let endpoint: S3Endpoint
    public let process: TestProcess
    /// Monitor and OSD.
    private let cluster: [TestProcess]
    private let directory: TemporaryDirectory

    private static let server = SharedServer { try await start() }

    /// The one that the tests of this process share. Use a bucket of your own, and neither stop nor hold it up.
    public static func shared() async throws -> RadosGateway { try await server.get() }

    /// An instance for one test alone; 15 to 20 s. It ends with its last reference.
    public static func start() async throws -> RadosGateway {
        let programs = try Programs()
        let directory = try TemporaryDirectory("rgw")
        let ports = try freePorts(3)
        let endpoint = S3Endpoint(port: ports[2])
        let configuration = directory + "ceph.conf"
        let identity = UUID().uuidString.lowercased()
        let monitors = "v2:127.0.0.1:\(ports[0])/0,v1:127.0.0.1:\(ports[1])/0"
        let text = text(identity: identity, monitors: monitors, directory: directory.path, port: endpoint.port)
        try Data(text.utf8).write(to: URL(fileURLWithPath: configuration))
        for name in ["mon", "osd"] {
            try FileManager.default.createDirectory(atPath: directory + name, withIntermediateDirectories: false)
        }
        let common = ["--conf", configuration]
        let map = directory + "monmap"
        try await TestCommand.run(
            programs.monmaptool,
            common + ["--create", "--fsid", identity, "--addv", "a", "[\(monitors)]", map])
        try await TestCommand.run(programs.monitor, common + ["--mkfs", "-i", "a", "--monmap", map])
        let monitor = try await TestProcess.start(
            programs.monitor, common + ["-i", "a", "-f"], directory: directory)
        let osdIdentity = UUID().uuidString.lowercased()
        try await TestCommand.run(
            programs.ceph, common + ["--connect-timeout", "60", "osd", "new", osdIdentity])
        try await TestCommand.run(
            programs.osd, common + ["-i", "0", "--mkfs", "--osd-uuid", osdIdentity], within: .seconds(60))
        let osd = try await TestProcess.start(programs.osd, common + ["-i", "0", "-f"], directory: directory)
        let gateway = try await TestProcess.start(
            programs.gateway, common + ["-n", "client.rgw", "-f"], directory: directory)
        try await gateway.waitUntilReady(within: .seconds(120)) { await httpStatus(port: endpoint.port) == 200 }
        try await TestCommand.run(
            programs.administrator,
            common + [
                "-n", "client.rgw", "user", "create", "--uid", "tests", "--display-name", "tests",
                "--access-key", endpoint.accessKey, "--secret-key", endpoint.secretKey,
            ])
        return RadosGateway(endpoint, gateway, [monitor, osd], directory)
    }

    private init(
        _ endpoint: S3Endpoint, _ process: TestProcess, _ cluster: [TestProcess], _ directory: TemporaryDirectory
    ) {
        (self.endpoint, self.process, self.cluster, self.directory) = (endpoint, process, cluster, directory)
    }

    public func stop() {
        process.kill()
        for process in cluster { process.kill() }
    }

    deinit { stop() }

    private struct Programs {
        let monmaptool: String
        let monitor: String
        let ceph: String
        let osd: String
        let gateway: String
        let administrator: String

        init() throws {
            monmaptool = try PackageRoot.systemProgram("monmaptool", package: "ceph-base")
            monitor = try PackageRoot.systemProgram("ceph-mon", package: "ceph-mon")
            ceph = try PackageRoot.systemProgram("ceph", package: "ceph-common")
            osd = try PackageRoot.systemProgram("ceph-osd", package: "ceph-osd")
            gateway = try PackageRoot.systemProgram("radosgw", package: "radosgw")
            administrator = try PackageRoot.systemProgram("radosgw-admin", package: "ceph-common")
        }
    }

    /// One replica of everything, few placement groups, no keys: a cluster that starts fast and is worth nothing.
    private static func text(identity: String, monitors: String, directory: String, port: Int) -> String {
        """
        [global]
        fsid = \(identity)
        mon host = [\(monitors)]
        mon initial members = a
        public addr = 127.0.0.1
        auth cluster required = none
        auth service required = none
        auth client required = none
        ms mon client mode = crc
        run dir = \(directory)
        admin socket = \(directory)/$name.asok
        log file = \(directory)/$name.log
        log to stderr = false
        err to stderr = true
        crash dir = \(directory)
        osd pool default size = 1
        osd pool default min size = 1
        osd pool default pg num = 4
        osd pool default pgp num = 4
        osd pool default pg autoscale mode = off
        osd crush chooseleaf type = 0
        mon allow pool size one = true
        mon max pg per osd = 1000
        mon osd down out interval = 0
        mon data avail warn = 1
        mon data avail crit = 1
        [mon.a]
        mon data = \(directory)/mon
        mon cluster log file = \(directory)/cluster.log
        [osd.0]
        osd data = \(directory)/osd
        osd objectstore = memstore
        memstore device bytes = 1073741824
        osd class load list = *
        osd class default list = *
        [client.rgw]
        rgw frontends = beast endpoint=127.0.0.1:\(port)
        rgw data = \(directory)
        rgw thread pool size = 64

        """
    }
}
