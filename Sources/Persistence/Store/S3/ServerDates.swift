import Foundation
import Glibc

/// The three ways in which S3 writes a time, all in UTC.
enum ServerDates {
    /// "20130524T000000Z", for signatures.
    static func signatureTime(_ date: Date) -> String {
        var seconds = time_t(date.timeIntervalSince1970.rounded(.down))
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let day =
            padded(Int(parts.tm_year) + 1900, 4) + padded(Int(parts.tm_mon) + 1, 2) + padded(Int(parts.tm_mday), 2)
        let time = padded(Int(parts.tm_hour), 2) + padded(Int(parts.tm_min), 2) + padded(Int(parts.tm_sec), 2)
        return "\(day)T\(time)Z"
    }

    /// "Mon, 23 Nov 2026 21:38:14 GMT" (RFC 9110, 5.6.7), as in `Date` and `Last-Modified`.
    static func parseHTTP(_ text: String) -> Date? {
        let words = text.split { $0 == " " || $0 == "," || $0 == "-" }
        guard words.count >= 5, let day = Int(words[1]), let year = Int(words[3]) else { return nil }
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let time = words[4].split(separator: ":").compactMap { Int($0) }
        guard let month = months.firstIndex(of: String(words[2])), time.count == 3 else { return nil }
        return date(year, month + 1, day, time[0], time[1], Double(time[2]))
    }

    /// "2026-11-23T21:38:14.000Z" (RFC 3339), as in listings and in the answers of credential services.
    static func parseInternet(_ text: String) -> Date? {
        guard text.hasSuffix("Z") else { return nil }
        let halves = text.dropLast().split(separator: "T")
        guard halves.count == 2 else { return nil }
        let day = halves[0].split(separator: "-").compactMap { Int($0) }
        let time = halves[1].split(separator: ":")
        guard day.count == 3, time.count == 3, let hour = Int(time[0]), let minute = Int(time[1]),
            let second = Double(time[2])
        else { return nil }
        return date(day[0], day[1], day[2], hour, minute, second)
    }

    private static func date(_ year: Int, _ month: Int, _ day: Int, _ hour: Int, _ minute: Int, _ second: Double)
        -> Date?
    {
        guard (1900...9999).contains(year), (1...12).contains(month), (1...31).contains(day), (0...23).contains(hour),
            (0...59).contains(minute), (0..<61).contains(second)
        else { return nil }
        var parts = tm()
        (parts.tm_year, parts.tm_mon, parts.tm_mday) = (Int32(year - 1900), Int32(month - 1), Int32(day))
        (parts.tm_hour, parts.tm_min) = (Int32(hour), Int32(minute))
        return Date(timeIntervalSince1970: Double(timegm(&parts)) + second)
    }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}
