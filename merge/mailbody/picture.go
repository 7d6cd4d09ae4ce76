package mailbody

import (
	"strings"

	"fanfare/merge"
)

const picture = "{% if " + merge.OpenVariable + " %}<img src=\"{{ " + merge.OpenVariable + " }}\" width=\"1\" height=\"1\" alt=\"\">{% endif %}"

// withPicture puts the picture at the end of the page. Where text may be taken as it stands (raw) or left out (comment) it goes behind all.
func withPicture(html string) string {
	at := -1
	for i := len(html); ; {
		if i = strings.LastIndex(html[:i], "</"); i < 0 {
			break
		}
		if name := html[i+2:]; len(name) >= len("body") && strings.EqualFold(name[:len("body")], "body") {
			at = i
			break
		}
	}
	if at < 0 || strings.Contains(html, "endraw") || strings.Contains(html, "endcomment") {
		return html + picture
	}
	return html[:at] + picture + html[at:]
}
