import Errors
import Testing

@testable import Settings

@Suite struct VolumeGroupTests {
    @Test func theSimpleFormIsRead() throws {
        let pools = try settings(
            least + ["--pool", "vg=fast,drives=/dev/disk/by-path/pci-0000:01:00.0-nvme-1:/dev/nvme1n1,create=true"]
        ).pools
        var group = VolumeGroupSettings(name: "fast")
        group.drives.paths = ["/dev/disk/by-path/pci-0000:01:00.0-nvme-1", "/dev/nvme1n1"]
        group.create = true
        #expect(pools == [PoolSettings(kind: .volumeGroup(group))])
        let all = try settings(least + ["--pool", "volumeGroup=g,name=n,drives=all,layout=striped,stripes=4"]).pools
        #expect(all[0].name == "n")
        #expect(all[0].volumeGroup?.drives == VolumeGroupSettings.Drives(allEmptyNVMe: true))
        #expect(all[0].volumeGroup?.layout == .striped && all[0].volumeGroup?.stripes == 4)
        #expect(all[0].volumeGroup?.create == false)
    }

    @Test func theFullFormIsRead() throws {
        let text = """
            pools:
              - name: fast
                volumeGroup: perssd
                drives:
                  path: [/dev/nvme0n1, /dev/nvme1n1]
                  model: SAMSUNG MZQL21T9HCJR-00A07
                  serial: S64GNE0R
                  minimumSize: 1TB
                  maximumSize: 2TiB
                  rotational: 0
                  allEmptyNVMe: true
                layout: raid1
                chunkSize: 128KiB
                create: true
                overcommit: 1.5
            """
        let pool = try #require(try ConfigurationFile.parse(text, file: "f").pools.first)
        var group = VolumeGroupSettings(name: "perssd")
        group.drives = VolumeGroupSettings.Drives(paths: ["/dev/nvme0n1", "/dev/nvme1n1"], allEmptyNVMe: true)
        group.drives.model = "SAMSUNG MZQL21T9HCJR-00A07"
        group.drives.serials = ["S64GNE0R"]
        group.drives.minimumSize = 1_000_000_000_000
        group.drives.maximumSize = 2 << 40
        group.drives.rotational = false
        group.layout = .raid1
        group.chunkSize = 128 << 10
        group.create = true
        group.overcommit = 1.5
        #expect(pool == PoolSettings(name: "fast", kind: .volumeGroup(group)))
    }
}
