import Errors
import Foundation
import Persistence
import Settings
import TestSupport
import Testing

@testable import perssd

@Suite struct VolumeArgumentTests {
    @Test(
        arguments: [
            ("vol-1", "vol-1", nil), ("a/b@12", "a/b", .generation(12)), ("user@host", "user@host", nil),
            ("a@b@3", "a@b", .generation(3)), ("a@", "a@", nil), ("a@-1", "a@-1", nil),
            ("a/b@branch-7", "a/b", .branch(epoch: 7)), ("a@branch", "a@branch", nil),
            ("a@branch-x", "a@branch-x", nil),
        ] as [(String, String, VolumeArgument.State?)])
    func isReadWithItsState(text: String, volume: String, state: VolumeArgument.State?) throws {
        let argument = try #require(VolumeArgument(argument: text))
        #expect(argument.volume == volume)
        #expect(argument.state == state)
    }

    @Test(arguments: ["", "@3", "a@0"]) func isRefused(text: String) { #expect(VolumeArgument(argument: text) == nil) }
}

@Suite struct TableTests {
    @Test func columnsAreAlignedAndNothingStrangeIsPrinted() {
        var table = Table([("NAME", .left), ("SIZE", .right), ("END", .left)])
        table.add(["a", "100", ""])
        table.add(["lüng\u{1b}[31m", "1", "x"])
        #expect(
            table.text == """
                NAME       SIZE  END
                a           100
                lüng?[31m     1  x
                """)
    }
}

@Suite struct ProgressLineTests {
    private func progress(_ done: UInt64, _ total: UInt64) -> TransferProgress {
        TransferProgress(doneBytes: done << 20, totalBytes: total << 20)
    }

    @Test func itShowsShareRateAndTimeLeft() {
        var line = ProgressLine(title: "restoring")
        line.update(progress(100, 400), at: .seconds(2))
        #expect(
            line.text(progress(100, 400), barWidth: 8)
                == "restoring   25%  [##......]  100.0 MiB of 400.0 MiB  50.0 MiB/s  about 6.0 s left")
    }

    @Test func theRateIsThatOfTheLastSeconds() {
        var line = ProgressLine(title: "restoring")
        for second in 1...30 { line.update(progress(UInt64(second) * 100, 10_000), at: .seconds(second)) }
        for second in 31...50 { line.update(progress(3000 + UInt64(second - 30), 10_000), at: .seconds(second)) }
        let rate = line.bytesPerSecond ?? 0
        #expect(abs(rate - Double(1 << 20)) < 1000)
    }

    @Test func itNeverClaimsToBeDoneBefore() {
        let line = ProgressLine(title: "t")
        #expect(line.text(TransferProgress(doneBytes: 999_999, totalBytes: 1_000_000)).contains(" 99%"))
        #expect(line.text(progress(5, 5)).contains("100%"))
        #expect(line.text(progress(0, 0)) == "t")
    }

    @Test func whatIsExpectedCountsWhereMoreIsKnown() {
        let line = ProgressLine(title: "t", expectedBytes: 400 << 20)
        #expect(line.text(progress(100, 100)).contains(" 25%  100.0 MiB of 400.0 MiB"))
    }
}

@Suite struct ExitMeaningTests {
    @Test func everyErrorHasOne() {
        #expect(ExitMeaning(PerSSDError(.unsupported, "")) == .corrupt)
        #expect(ExitMeaning(PerSSDError(.unauthenticated, "")) == .storeUnusable)
        #expect(ExitMeaning(PerSSDError(.cancelled, "")) == .interrupted)
        for code in PerSSDError.Code.allCases {
            #expect(ExitMeaning(PerSSDError(code, "")) != .success)
        }
    }
}
