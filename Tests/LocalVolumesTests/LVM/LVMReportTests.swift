import Errors
import Testing

@testable import LocalVolumes

/// The reports are those of LVM 2.03.16 on four NVMe drives, with the fields that are not read left out.
@Suite struct LVMReportTests {
    static let volumes = """
          {
              "report": [
                  {
                      "lv": [
                          {"lv_name":"c.vol-abc", "lv_size":"268435456", "lv_tags":"perssd.kind=copy,perssd.volume=vol-abc", "segtype":"thin", "pool_lv":"pool", "thin_id":"1", "lv_active":"active", "data_percent":"1.56", "metadata_percent":"", "lv_metadata_size":"", "chunk_size":"0", "lv_health_status":"", "lv_check_needed":"unknown"},
                          {"lv_name":"[lvol0_pmspare]", "lv_size":"16777216", "lv_tags":"", "segtype":"linear", "pool_lv":"", "thin_id":"", "lv_active":"", "data_percent":"", "metadata_percent":"", "lv_metadata_size":"", "chunk_size":"0", "lv_health_status":"", "lv_check_needed":"unknown"},
                          {"lv_name":"pool", "lv_size":"1073741824", "lv_tags":"perssd", "segtype":"thin-pool", "pool_lv":"", "thin_id":"", "lv_active":"active", "data_percent":"0.40", "metadata_percent":"10.28", "lv_metadata_size":"16777216", "chunk_size":"65536", "lv_health_status":"", "lv_check_needed":""}
                      ]
                  }
              ]
          }
        """

    @Test func logicalVolumesAreRead() throws {
        let volumes = try LVMReport.logicalVolumes(Array(Self.volumes.utf8))
        #expect(volumes.map(\.name) == ["c.vol-abc", "lvol0_pmspare", "pool"])
        let copy = volumes[0]
        #expect(copy.sizeBytes == 256 << 20)
        #expect(copy.tags == ["perssd.kind=copy", "perssd.volume=vol-abc"])
        #expect(copy.thinID == 1 && copy.pool == "pool" && copy.segmentType == "thin" && copy.isActive)
        #expect(copy.mappedBytes == 4_187_593)
        #expect(!volumes[1].isActive && volumes[1].tags.isEmpty && volumes[1].thinID == nil)
        let pool = volumes[2]
        #expect(pool.metadataPercent == 10.28 && pool.metadataBytes == 16 << 20 && pool.chunkBytes == 65536)
        #expect(pool.health.isEmpty && !pool.needsCheck)
    }

    @Test func volumeGroupsAndDrivesAreRead() throws {
        let groups = """
            {"report":[{"vg":[{"vg_name":"pvg", "vg_tags":"perssd,perssd.format=1,perssd.pool=default",
            "vg_extent_size":"4194304", "vg_missing_pv_count":"0"}]}]}
            """
        #expect(
            try LVMReport.volumeGroups(Array(groups.utf8)) == [
                VolumeGroup(
                    name: "pvg", tags: LVMTags.group("default"), extentBytes: 4 << 20, missingDrives: 0)
            ])
        let drives = """
            {"report":[{"pv":[{"pv_name":"/dev/nvme0n1", "vg_name":"", "pv_free":"1254096896"}]}]}
            """
        #expect(
            try LVMReport.physicalVolumes(Array(drives.utf8)) == [
                PhysicalVolume(device: "/dev/nvme0n1", group: "", freeBytes: 1_254_096_896)
            ])
    }

    @Test(arguments: [
        "", "{}", "[]", #"{"report":[{"lv":[{"lv_name":"a"}]}]}"#, #"{"report":[{"lv":[1]}]}"#,
        volumes.replacing("268435456", with: "256.00m"), volumes.replacing("\"1.56\"", with: "\"much\""),
    ])
    func whatIsNoReportIsRefused(text: String) {
        let error = #expect(throws: PerSSDError.self) { try LVMReport.logicalVolumes(Array(text.utf8)) }
        #expect(error?.code == .unsupported)
    }

    @Test(arguments: [
        ("  LVM version:     2.03.16(2) (2022-05-18)\n  Library version: 1.02.185", "2.03.16"),
        ("  LVM version:     2.03.27(2)", "2.03.27"), ("nonsense", nil), ("LVM version: ", nil),
    ])
    func theVersionIsFound(text: String, version: String?) { #expect(LVMTools.version(text) == version) }

    @Test func versionsAreComparedByNumbers() {
        #expect(LVMTools.isOlder("2.02.187", than: "2.03.11"))
        #expect(LVMTools.isOlder("2.03.9", than: "2.03.11"))
        #expect(!LVMTools.isOlder("2.03.11", than: "2.03.11"))
        #expect(!LVMTools.isOlder("3.0", than: "2.03.11"))
    }
}
