import Errors
import Foundation
import Testing

@testable import Persistence

@Suite struct RetentionTests {
    /// 2023-11-13, a Monday, 00:00 UTC.
    private let monday = Date(timeIntervalSince1970: 1_699_833_600)

    private func kept(_ text: String, _ hours: [Double]) throws -> [UInt64] {
        let policy = try #require(RetentionPolicy(parsing: text))
        let generations = hours.enumerated().map { (UInt64($0.offset + 1), monday + $0.element * 3600) }
        return policy.kept(generations).sorted()
    }

    @Test func theNewestIsAlwaysKept() throws {
        #expect(try kept("last=0", [0, 1, 2]) == [3])
        #expect(try kept("hourly=1", [5, 1]) == [2])
        #expect(try kept("last=2", []) == [])
    }

    @Test func lastCountsGenerations() throws {
        #expect(try kept("last=2", [0, 0, 0, 0]) == [3, 4])
        #expect(try kept("last=9", [0, 1]) == [1, 2])
        #expect(try kept("all", [0, 0, 0]) == [1, 2, 3])
    }

    @Test func periodsKeepTheNewestOfEach() throws {
        #expect(try kept("hourly=2", [0, 0.5, 1, 1.9, 2, 2.1]) == [4, 6])
        // Hours without a generation do not count.
        #expect(try kept("hourly=3", [0, 0.5, 100, 200]) == [2, 3, 4])
        #expect(try kept("daily=2", [0, 23.9, 24, 30, 47]) == [2, 5])
        // Sunday's last hour and Monday's first one are of different weeks.
        #expect(try kept("weekly=2", [-169, -1, 0, 167]) == [2, 4])
    }

    @Test func rulesAddUp() throws {
        #expect(try kept("last=1,hourly=2,daily=3", [0, 24, 25, 48, 48.5, 49]) == [1, 3, 5, 6])
    }

    @Test func aClockThatGoesBackLosesNothingOfTheNewest() throws {
        #expect(try kept("last=2,hourly=2", [50, 49, 10]) == [2, 3])
    }

    @Test(arguments: ["last=10,hourly=24,daily=14,weekly=8", "last=0", "all", "last=1,weekly=3"])
    func itIsWrittenAsItIsRead(_ text: String) throws {
        #expect(RetentionPolicy(parsing: text)?.description == text)
    }

    @Test(arguments: [
        "", "last", "last=", "last=-1", "last=x", "last=1,last=2", "yearly=1", "last=1,", "last=10001", "ALL",
    ])
    func anythingElseIsRefused(_ text: String) {
        #expect(RetentionPolicy(parsing: text) == nil)
        expectRefusal(.invalidArgument, "retention", "last=10,hourly=24") {
            _ = try VolumeParameters(parsing: ["retention": text])
        }
    }

    @Test func recordsOfVolumesThatSayNothingHaveNone() throws {
        let bytes = try JSONEncoder().encode(VolumeParameters())
        #expect(!String(decoding: bytes, as: UTF8.self).contains("retention"))
        #expect(try JSONDecoder().decode(VolumeParameters.self, from: bytes).retention == nil)
        #expect(try VolumeParameters(parsing: ["retention": "last=3"]).retention == RetentionPolicy(last: 3))
    }
}
