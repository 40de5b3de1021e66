//! Colors, for light and for dark pages.
//!
//! An SVG carries the light colors as attributes; [`rules`] makes the style rules that swap each for its dark partner
//! where the reader's system is dark. Arms have colors of Okabe and Ito's color-blind-safe set, darkened or lightened
//! for contrast; layers have the viridis scale, which stays ordered in gray.

use std::fmt::Write;

use plotters::style::RGBColor;

/// A color as it is on a light and on a dark page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    light: u32,
    dark: u32,
}

const fn paint(light: u32, dark: u32) -> Paint {
    Paint { light, dark }
}

/// Page and plot background.
pub(crate) const GROUND: Paint = paint(0xFF_FF_FF, 0x16_1B_22);
/// Text.
pub(super) const TEXT: Paint = paint(0x1F_23_28, 0xE6_ED_F3);
/// Axes, tick labels and marks.
pub(crate) const QUIET: Paint = paint(0x5B_64_6E, 0x9D_A7_B3);
/// Grid lines.
pub(super) const GRID: Paint = paint(0xE3_E6_EA, 0x2D_33_3B);

/// Number of different colors for arms.
pub(super) const ARM_COUNT: usize = 8;

/// `alone`, `untrained`, `trained`, `trained_first`, then any others.
const ARMS: [Paint; ARM_COUNT] = [
    paint(0x59_62_6D, 0xB4_BC_C6),
    paint(0xD5_5E_00, 0xFF_8F_45),
    paint(0x00_72_B2, 0x58_B6_F2),
    paint(0x00_8F_68, 0x2F_CB_A0),
    paint(0xA8_45_7F, 0xE8_9A_C7),
    paint(0x8A_6D_00, 0xE8_D3_4A),
    paint(0x66_3F_A6, 0xB9_9C_F2),
    paint(0x7A_3B_1D, 0xD9_A0_82),
];

/// First to last layer.
const LAYERS: [Paint; 9] = [
    paint(0x44_01_54, 0x5E_6F_D6),
    paint(0x48_24_75, 0x4A_84_D0),
    paint(0x41_44_87, 0x3A_98_C4),
    paint(0x35_5F_8D, 0x2C_AB_AF),
    paint(0x2A_78_8E, 0x2F_BC_93),
    paint(0x21_90_8D, 0x55_CA_72),
    paint(0x22_A0_78, 0x8A_D5_4C),
    paint(0x4F_AE_3E, 0xC0_DE_3A),
    paint(0x93_A8_0F, 0xFD_E7_25),
];

/// Color of the arm at `index`; they repeat after [`ARM_COUNT`].
pub(crate) fn arm(index: usize) -> Paint {
    ARMS[index % ARMS.len()]
}

/// Color of layer pair `index` of `count`.
pub(super) fn layer(index: usize, count: usize) -> Paint {
    let last = count.saturating_sub(1).max(1);
    LAYERS[(index.min(last) * (LAYERS.len() - 1) + last / 2) / last]
}

impl Paint {
    /// The light color, which the rules of [`rules`] may swap.
    pub(super) fn rgb(self) -> RGBColor {
        let [_, red, green, blue] = self.light.to_be_bytes();
        RGBColor(red, green, blue)
    }

    /// `#RRGGBB` of the light color, as it stands in an SVG.
    pub(crate) fn hex(self) -> String {
        format!("#{:06X}", self.light)
    }

    /// `#RRGGBB` of the dark color.
    pub(crate) fn dark_hex(self) -> String {
        format!("#{:06X}", self.dark)
    }
}

/// CSS that gives every plot its font and, on dark systems, its dark colors.
pub(crate) fn rules() -> String {
    let mut css = String::from("svg text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}\n");
    // Text of a chart keeps clear of the curves that it stands on.
    let halo = |color: String| {
        format!("svg.plot text{{paint-order:stroke;stroke:{color};stroke-width:12px;stroke-linejoin:round}}\n")
    };
    css.push_str(&halo(GROUND.hex()));
    css.push_str("@media (prefers-color-scheme:dark){\n");
    css.push_str(&halo(GROUND.dark_hex()));
    let single = [GROUND, TEXT, QUIET, GRID];
    for paint in single.iter().chain(&ARMS).chain(&LAYERS) {
        let (light, dark) = (paint.hex(), paint.dark);
        // Writing to a string cannot fail.
        let _ =
            writeln!(css, "svg [fill=\"{light}\"]{{fill:#{dark:06X}}}svg [stroke=\"{light}\"]{{stroke:#{dark:06X}}}");
    }
    css.push_str("}\n");
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast of two colors as WCAG 2 defines it, 1 to 21.
    fn contrast(a: u32, b: u32) -> f64 {
        let light = |color: u32| {
            let linear = |c: u8| {
                let c = f64::from(c) / 255.0;
                if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            };
            let [_, r, g, b] = color.to_be_bytes();
            0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05
        };
        let (a, b) = (light(a), light(b));
        a.max(b) / a.min(b)
    }

    #[test]
    fn lines_and_text_stand_out_on_both_grounds() {
        for paint in ARMS.iter().chain(&[TEXT, QUIET]) {
            let (light, dark) = (contrast(paint.light, GROUND.light), contrast(paint.dark, GROUND.dark));
            assert!(light > 3.5 && dark > 4.5, "{} has contrast {light:.1} and {dark:.1}", paint.hex());
        }
        for paint in LAYERS {
            let (light, dark) = (contrast(paint.light, GROUND.light), contrast(paint.dark, GROUND.dark));
            assert!(light > 2.5 && dark > 3.5, "{} has contrast {light:.1} and {dark:.1}", paint.hex());
        }
    }

    #[test]
    fn no_light_color_has_two_dark_ones() {
        let mut all: Vec<u32> =
            ARMS.iter().chain(&LAYERS).chain(&[GROUND, TEXT, QUIET, GRID]).map(|p| p.light).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn layers_go_from_first_to_last() {
        assert_eq!((layer(0, 1), layer(0, 21), layer(20, 21)), (LAYERS[0], LAYERS[0], LAYERS[8]));
    }
}
