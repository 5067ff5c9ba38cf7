import Testing

@testable import LocalVolumes

/// The outputs are those of thin-provisioning-tools 0.9.0 on a real pool.
@Suite struct ThinMetadataTests {
    private static let delta = """
        <superblock uuid="" time="2" transaction="3" data_block_size="128" nr_data_blocks="0">
          <diff left="2" right="3">
            <same begin="0" length="5"/>
            <different begin="5" length="2"/>
            <same begin="7" length="57"/>
          </diff>
        </superblock>

        """
    private static let dump = """
        <superblock uuid="" time="2" transaction="3" flags="0" version="2" data_block_size="128" nr_data_blocks="0">
          <device dev_id="3" mapped_blocks="64" transaction="2" creation_time="2" snap_time="2">
            <range_mapping origin_begin="0" data_begin="0" length="5" time="0"/>
            <range_mapping origin_begin="5" data_begin="64" length="2" time="1"/>
            <single_mapping origin_block="90" data_block="7" time="0"/>
          </device>
        </superblock>

        """
    private static let chunk: UInt64 = 65536

    @Test func whatDiffersIsFound() {
        #expect(ThinMetadata.differences(Array(Self.delta.utf8)) == [5 * Self.chunk..<7 * Self.chunk])
        let more = Self.delta.replacing(
            "<same begin=\"7\" length=\"57\"/>",
            with: "<left_only begin=\"7\" length=\"1\"/>\n    <right_only begin=\"9\" length=\"1\"/>")
        #expect(
            ThinMetadata.differences(Array(more.utf8)) == [
                5 * Self.chunk..<8 * Self.chunk, 9 * Self.chunk..<10 * Self.chunk,
            ])
    }

    @Test func whatIsMappedIsFound() {
        #expect(
            ThinMetadata.mappings(Array(Self.dump.utf8)) == [
                0..<7 * Self.chunk, 90 * Self.chunk..<91 * Self.chunk,
            ])
    }

    /// A short list would make a stage-out lose data: anything odd has to mean that nobody knows.
    @Test(arguments: [
        "", "Unable to find mapping tree for snap2 (99)\n", String(delta.prefix(200)),
        delta.replacing("different", with: "changed"), delta.replacing("data_block_size=\"128\"", with: ""),
        delta.replacing("begin=\"7\"", with: "begin=\"x\"").replacing(
            "same begin=\"x\"", with: "right_only begin=\"x\""),
        delta.replacing("<different begin=\"5\" length=\"2\"/>", with: "<different begin=\"5\"/>"),
        delta.replacing("length=\"2\"", with: "length=\"18446744073709551615\""),
        delta.replacing("data_block_size=\"128\"", with: "data_block_size=\"0\""),
    ])
    func whatIsOddIsNoAnswer(text: String) { #expect(ThinMetadata.differences(Array(text.utf8)) == nil) }

    @Test func rangesEndWithTheVolume() {
        #expect(LVMPool.clipped([0..<10, 20..<40, 50..<60], to: 30) == [0..<10, 20..<30])
    }
}
